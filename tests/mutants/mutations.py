"""The mutants of a module: every single small change of its syntax tree that ought to be noticed.

    in the source                          in a mutant
    a < b, a == b, a is b, a in b          a <= b, a != b, a is not b, a not in b, and back
    a and b, a or b                        a, and b
    not a, -a, ~a                          a
    if a, while a, x if a else y           if not a, where *a* is no comparison, and, or, not
    a + b, a * b, a << b, a & b, ...       a - b, a // b, a >> b, a | b, ...
    7, 0.5, True, "text", b"bytes"         8, 1.5, False, "XXtext", b"XXbytes"
    Code.QUEST_TIMEOUT                     another Code that the module names, or None
    a[b:c]                                 a[:c], and a[b:]
    min, any, .startswith(), ...           max, all, .endswith(), ...
    isinstance(a, (B, C)), except (B, C)   each of them left out
    return a                               return None
    self.a = b, a += b, del a, a(), raise  pass
    break, continue                        continue, break
    match a: case ...                      each case left out

Messages are for people: a str is one when a space stands in it or when it is part of a ``raise``.
Its words do not count, nor what a ``raise`` shows in them; the code and the limit beside it do.
Left alone, too: docstrings, annotations, decorators, imports, assertions (no input can break them)
and ``|`` outside functions (it makes types).

A mutant's name is its function and the statement it stands in, the change marked in it; so it
outlives every change of other lines, and ends with the line it is about.
"""

from __future__ import annotations

import ast
import copy
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar, cast

AROUND = 40  # characters of a statement that are kept before and behind the change

_COMPARED: Mapping[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_COMPUTED: Mapping[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitOr,
}
_PAIRS = (
    ("min", "max"),
    ("any", "all"),
    ("find", "rfind"),
    ("index", "rindex"),
    ("lower", "upper"),
    ("lstrip", "rstrip"),
    ("partition", "rpartition"),
    ("removeprefix", "removesuffix"),
    ("startswith", "endswith"),
    ("append", "appendleft"),
    ("popleft", "pop"),
)
_CALLED = dict(_PAIRS) | {right: left for left, right in _PAIRS}
_NOT_BEHAVIOUR = {"annotation", "decorator_list", "returns", "type_params"}  # fields
_NAMED_BY_TYPES = {"cast", "NewType", "TypeVar"}  # calls whose first argument is a type's name
_CONDITIONS = (ast.Compare, ast.BoolOp, ast.UnaryOp, ast.Constant)
_Node = TypeVar("_Node", bound=ast.AST)
_INNER = {"body", "orelse", "finalbody", "handlers", "cases"}  # statements of a statement


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change: *holder*'s *field* gets *value*."""

    function: str
    text: str
    line: int
    holder: ast.AST
    field: str
    value: object

    @property
    def name(self) -> str:
        """What no other mutant of the module is called."""
        return f"{self.function}: {self.text}"

    def apply(self) -> None:
        """Change the tree that it was made from."""
        setattr(self.holder, self.field, self.value)


@dataclass(frozen=True, slots=True)
class _Place:
    function: str = "module"
    statement: ast.AST | None = None
    raising: bool = False
    in_function: bool = False


def mutants(tree: ast.Module) -> list[Mutant]:
    """Every mutant of the module *tree*, in the order of the source."""
    return list(_Finder(tree).of(tree, _Place()))


class _Finder:
    def __init__(self, tree: ast.Module) -> None:
        self._seen: Counter[tuple[str, str]] = Counter()
        members: defaultdict[str, set[str]] = defaultdict(set)
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and (member := _member(node)):
                members[member[0]].add(member[1])
        self._members = {enum: sorted(names) for enum, names in members.items()}

    def of(self, holder: ast.AST, place: _Place) -> Iterator[Mutant]:
        """The mutants at *holder* and below."""
        if isinstance(holder, (ast.stmt, ast.match_case, ast.ExceptHandler)):
            place = _step(place, holder)
        for field, value in ast.iter_fields(holder):
            if field in _NOT_BEHAVIOUR:
                continue
            for changed in self._changed(holder, field, value, place):
                yield self._mutant(holder, field, value, changed, place)
            for node in _nodes(value):
                if not _is_left_alone(holder, node, place):
                    yield from self.of(node, place)

    def _changed(
        self, holder: ast.AST, field: str, value: object, place: _Place
    ) -> Iterator[object]:
        """What *field* may be instead."""
        match holder, field:
            case ((ast.Compare() | ast.BinOp() | ast.AugAssign()), ("ops" | "op")):
                yield from _operators(value, place)
            case ((ast.If() | ast.While() | ast.IfExp()), "test"):
                if isinstance(value, ast.expr) and not isinstance(value, _CONDITIONS):
                    yield ast.UnaryOp(ast.Not(), value)
            case ast.Slice(), ("lower" | "upper"):
                if value is not None:
                    yield None
            case ast.Match(cases=cases), "cases" if len(cases) > 1:
                yield from _each_left_out(cases)
            case ast.Call(
                func=ast.Name(id="isinstance"), args=[what, ast.Tuple(elts=elts)]
            ), "args":
                for kept in _each_left_out(elts):
                    yield [what, kept[0] if len(kept) == 1 else ast.Tuple(kept, ast.Load())]
            case ast.ExceptHandler(type=ast.Tuple(elts=elts)), "type":
                for kept in _each_left_out(elts):
                    yield kept[0] if len(kept) == 1 else ast.Tuple(kept, ast.Load())
            case _:
                pass
        for index, node in enumerate(_all(value)):
            if isinstance(node, ast.AST) and not _is_left_alone(holder, node, place):
                for new in self._instead(node, holder, place):
                    yield _put(value, index, new)

    def _instead(self, node: ast.AST, holder: ast.AST, place: _Place) -> Iterator[ast.AST]:
        """What may stand in place of *node*."""
        match node:
            case ast.BoolOp(op, values):
                for kept in _each_left_out(values):
                    yield kept[0] if len(kept) == 1 else ast.BoolOp(op, kept)
            case ast.UnaryOp(operand=operand):
                yield operand
            case ast.Constant(value=value):
                yield from _constants(value)
            case ast.Attribute() if member := _member(node):
                names = self._members[member[0]]
                other = names[(names.index(member[1]) + 1) % len(names)]
                if other != member[1]:
                    yield ast.Attribute(node.value, other, node.ctx)
                elif not isinstance(holder, ast.MatchValue):
                    yield ast.Constant(None)
            case ast.Call(func=ast.Name(id=name)) if name in _CALLED:
                yield ast.Call(ast.Name(_CALLED[name], ast.Load()), node.args, node.keywords)
            case ast.Call(func=ast.Attribute(value, attr, ctx)) if attr in _CALLED:
                yield ast.Call(ast.Attribute(value, _CALLED[attr], ctx), node.args, node.keywords)
            case ast.Return(value=ast.expr() as value) if not isinstance(value, ast.Constant):
                yield ast.Return(ast.Constant(None))
            case ast.Break():
                yield ast.Continue()
            case ast.Continue():
                yield ast.Break()
            case ast.Raise() | ast.AugAssign() | ast.Delete() | ast.Expr(value=ast.Call()):
                yield ast.Pass()
            case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
                yield ast.Pass()
            case ast.AnnAssign(target=ast.Attribute(), value=ast.expr()):
                yield ast.Pass()
            case _:
                pass

    def _mutant(
        self, holder: ast.AST, field: str, old: object, new: object, place: _Place
    ) -> Mutant:
        spot = _the_changed(old, new)
        if isinstance(spot, (ast.stmt, ast.match_case)):
            before = _header(spot)
            other = _the_changed(new, old)
            after = _header(other) if other is not None else ""
        else:
            assert place.statement is not None  # only a module has none, and it has no expressions
            before = _header(place.statement)
            setattr(holder, field, new)
            after = _header(place.statement)
            setattr(holder, field, old)
        text = _marked(before, after)
        self._seen[place.function, text] += 1
        times = self._seen[place.function, text]
        if times > 1:
            text += f" ({times})"
        lines = [getattr(node, "lineno", 0) for node in (spot, holder, place.statement)]
        line = next(line for line in lines if line)
        return Mutant(place.function, text, line, holder, field, new)


def _step(place: _Place, node: ast.AST) -> _Place:
    match node:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
            return _Place(_inside(place, name), node, in_function=True)
        case ast.ClassDef(name=name):
            return _Place(_inside(place, name), node)
        case _:
            raising = isinstance(node, ast.Raise)
            return _Place(place.function, node, raising, place.in_function)


def _inside(place: _Place, name: str) -> str:
    return name if place.function == "module" else f"{place.function}.{name}"


def _is_left_alone(holder: ast.AST, node: ast.AST, place: _Place) -> bool:
    """Whether no change of *node* counts."""
    match node:
        case ast.Import() | ast.ImportFrom() | ast.Assert() | ast.Expr(value=ast.Constant()):
            return True
        case ast.If(test=ast.Name(id="TYPE_CHECKING")):
            return True
        case ast.Assign(targets=[ast.Name(id="__all__" | "__slots__")]):
            return True
        case ast.JoinedStr():
            return place.raising
        case ast.Constant(value=str() as text):
            whole = _literal(holder) if isinstance(holder, ast.JoinedStr) else text
            return place.raising or " " in whole or _is_a_types_name(holder, node)
        case _:
            return _is_a_types_name(holder, node)


def _literal(string: ast.JoinedStr) -> str:
    """The words of an f-string."""
    return "".join(str(part.value) for part in string.values if isinstance(part, ast.Constant))


def _is_a_types_name(holder: ast.AST, node: ast.AST) -> bool:
    match holder:
        case ast.Call(func=ast.Name(id=name), args=[first, *_]):
            return name in _NAMED_BY_TYPES and node is first
        case _:
            return False


def _operators(value: object, place: _Place) -> Iterator[object]:
    if isinstance(value, list):
        ops = cast("list[ast.cmpop]", value)
        for index, op in enumerate(ops):
            yield _put(ops, index, _COMPARED[type(op)]())
    elif isinstance(value, ast.operator):
        if type(value) in _COMPUTED and (place.in_function or not isinstance(value, ast.BitOr)):
            yield _COMPUTED[type(value)]()


def _constants(value: object) -> Iterator[ast.Constant]:
    match value:
        case bool():
            yield ast.Constant(not value)
        case int() | float():
            yield ast.Constant(value + 1)
        case str():
            yield ast.Constant(f"XX{value}")
        case bytes():
            yield ast.Constant(b"XX" + value)
        case _:
            pass


def _member(node: ast.Attribute) -> tuple[str, str] | None:
    """The enum and the member that *node* names, by the look of it."""
    match node:
        case ast.Attribute(value=ast.Name(id=enum), attr=name):
            if name.isupper() and enum.lstrip("_")[:1].isupper() and not enum.isupper():
                return enum, name
        case _:
            pass
    return None


def _all(value: object) -> Sequence[object]:
    return cast("list[object]", value) if isinstance(value, list) else [value]


def _nodes(value: object) -> Sequence[ast.AST]:
    """Those of *value*; where a default or a key is missing, a list has a None."""
    return [node for node in _all(value) if isinstance(node, ast.AST)]


def _put(value: object, index: int, new: object) -> object:
    """*value*, a node or a list of nodes, with *new* in the place of the one at *index*."""
    if not isinstance(value, list):
        return new
    nodes = cast("list[object]", value)
    return [*nodes[:index], new, *nodes[index + 1 :]]


def _each_left_out(nodes: Sequence[_Node]) -> Iterator[list[_Node]]:
    for index in range(len(nodes)):
        yield [*nodes[:index], *nodes[index + 1 :]]


def _the_changed(old: object, new: object) -> ast.AST | None:
    """The first node of *old* that is not in *new*."""
    kept = _nodes(new)
    return next((node for node in _nodes(old) if not any(node is other for other in kept)), None)


def _header(node: ast.AST) -> str:
    """The first line of a statement, without what stands inside it."""
    head = copy.copy(node)
    for field in head._fields:
        if field in _INNER:
            setattr(head, field, [ast.Pass()] if field == "body" else [])
        elif field == "decorator_list":
            setattr(head, field, [])
    return ast.unparse(ast.fix_missing_locations(head)).strip().splitlines()[0]


def _marked(before: str, after: str) -> str:
    """*before*, with the change to *after* marked in it: ``if [a < b -> a <= b]:``."""
    shorter = min(len(before), len(after))
    start = next((at for at in range(shorter) if before[at] != after[at]), shorter)
    end = next(
        (at for at in range(shorter - start) if before[-1 - at] != after[-1 - at]), shorter - start
    )
    while _cuts_a_word(before, start) or _cuts_a_word(after, start):
        start -= 1
    while _cuts_a_word(before, len(before) - end) or _cuts_a_word(after, len(after) - end):
        end -= 1
    left, right = before[:start], before[len(before) - end :]
    if len(left) > AROUND:
        left = f"…{left[-AROUND:]}"
    if len(right) > AROUND:
        right = f"{right[:AROUND]}…"
    return (
        f"{left}[{before[start : len(before) - end]} -> {after[start : len(after) - end]}]{right}"
    )


def _cuts_a_word(text: str, at: int) -> bool:
    return 0 < at < len(text) and text[at - 1].isalnum() and text[at].isalnum()
