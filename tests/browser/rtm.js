// RTM in a page, over the browser's own WebSocket: as much of FPNN, msgpack and md5 as a login, a
// file and a push need. A BigInt travels as int64, as every Int64 of the official SDK does.
"use strict";

const UTF8 = new TextEncoder();
const [ANSWER, QUEST] = [2, 1]; // a package's mtype; 0 is one-way

function join(parts) {
  const whole = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

// --- md5: RFC 1321 ---

const SINES = Uint32Array.from({ length: 64 }, (_, i) => Math.abs(Math.sin(i + 1)) * 2 ** 32);
const TURNS = [[7, 12, 17, 22], [5, 9, 14, 20], [4, 11, 16, 23], [6, 10, 15, 21]];

function md5(data) {
  const padded = new DataView(new ArrayBuffer((((data.length + 8) >> 6) + 1) << 6));
  new Uint8Array(padded.buffer).set(data);
  padded.setUint8(data.length, 0x80);
  padded.setBigUint64(padded.byteLength - 8, BigInt(data.length) * 8n, true);
  const state = [0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476];
  for (let block = 0; block < padded.byteLength; block += 64) {
    let [a, b, c, d] = state;
    for (let i = 0; i < 64; i++) {
      const round = i >> 4;
      const mixed = [(b & c) | (~b & d), (b & d) | (c & ~d), b ^ c ^ d, c ^ (b | ~d)][round];
      const word = [i, 5 * i + 1, 3 * i + 5, 7 * i][round] & 15;
      const sum = (a + mixed + SINES[i] + padded.getUint32(block + 4 * word, true)) | 0;
      const turn = TURNS[round][i & 3];
      [a, b, c, d] = [d, (b + ((sum << turn) | (sum >>> (32 - turn)))) | 0, b, c];
    }
    [a, b, c, d].forEach((value, i) => (state[i] = (state[i] + value) | 0));
  }
  const digest = new DataView(new ArrayBuffer(16));
  state.forEach((value, i) => digest.setInt32(4 * i, value, true));
  return Array.from(new Uint8Array(digest.buffer), (byte) => byte.toString(16).padStart(2, "0"))
    .join("");
}

// --- msgpack ---

function number(code, size, value) {
  const bytes = new DataView(new ArrayBuffer(1 + size));
  bytes.setUint8(0, code);
  if (size === 8) bytes.setBigInt64(1, value);
  else if (size === 4) bytes.setUint32(1, value);
  else if (size === 2) bytes.setUint16(1, value);
  else bytes.setUint8(1, value);
  return new Uint8Array(bytes.buffer);
}

// The smallest form of a number or a length; *codes* are those of 8, 16 and 32 bits.
function head(value, fixed, below, codes) {
  if (value < below) return Uint8Array.of(fixed | value);
  const i = value < 2 ** 8 && codes[0] ? 0 : value < 2 ** 16 ? 1 : 2;
  return number(codes[i], 2 ** i, value);
}

function pack(value) {
  if (value === null) return Uint8Array.of(0xc0);
  if (typeof value === "boolean") return Uint8Array.of(value ? 0xc3 : 0xc2);
  if (typeof value === "bigint") return number(0xd3, 8, value);
  if (typeof value === "number") return head(value, 0, 128, [0xcc, 0xcd, 0xce]);
  if (typeof value === "string") {
    const text = UTF8.encode(value);
    return join([head(text.length, 0xa0, 32, [0xd9, 0xda, 0xdb]), text]);
  }
  if (value instanceof Uint8Array) {
    return join([head(value.length, 0, 0, [0xc4, 0xc5, 0xc6]), value]);
  }
  const entries = Object.entries(value);
  return join([head(entries.length, 0x80, 16, [0, 0xde, 0xdf]), ...entries.flat().map(pack)]);
}

// Whole numbers of 64 bits come as BigInt.
function unpack(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 0;
  const take = (size) => bytes.subarray(at, (at += size));
  const read = (size, how) => view[how]((at += size) - size);
  const length = (size) => read(size, `getUint${8 * size}`);
  const text = (size) => new TextDecoder("utf-8", { fatal: true }).decode(take(size));
  const list = (size) => Array.from({ length: size }, one);
  const map = (size) => Object.fromEntries(Array.from({ length: size }, () => [one(), one()]));
  function one() {
    const code = read(1, "getUint8");
    if (code < 0x80) return code;
    if (code < 0x90) return map(code & 15);
    if (code < 0xa0) return list(code & 15);
    if (code < 0xc0) return text(code & 31);
    if (code >= 0xe0) return code - 256;
    switch (code) {
      case 0xc0: return null;
      case 0xc2: return false;
      case 0xc3: return true;
      case 0xc4: case 0xc5: case 0xc6: return take(length(2 ** (code - 0xc4)));
      case 0xca: return read(4, "getFloat32");
      case 0xcb: return read(8, "getFloat64");
      case 0xcc: case 0xcd: case 0xce: return length(2 ** (code - 0xcc));
      case 0xcf: return read(8, "getBigUint64");
      case 0xd0: return read(1, "getInt8");
      case 0xd1: return read(2, "getInt16");
      case 0xd2: return read(4, "getInt32");
      case 0xd3: return read(8, "getBigInt64");
      case 0xd9: case 0xda: case 0xdb: return text(length(2 ** (code - 0xd9)));
      case 0xdc: case 0xdd: return list(length(2 ** (code - 0xdb)));
      case 0xde: case 0xdf: return map(length(2 ** (code - 0xdd)));
      default: throw new Error(`no msgpack value begins with ${code}`);
    }
  }
  const value = one();
  if (at !== bytes.length) throw new Error(`${bytes.length - at} bytes behind the payload`);
  return value;
}

// --- packages ---

function encodePackage(mtype, ss, seq, method, params) {
  const payload = pack(params);
  const start = new DataView(new ArrayBuffer(16));
  UTF8.encodeInto("FPNN", new Uint8Array(start.buffer));
  [1, 0x80, mtype, ss].forEach((byte, i) => start.setUint8(4 + i, byte));
  start.setUint32(8, payload.length, true);
  start.setUint32(12, seq, true);
  return join([new Uint8Array(start.buffer), method, payload]);
}

function decodePackage(bytes) {
  const view = new DataView(bytes.buffer);
  const [version, flag, mtype, ss] = bytes.subarray(4, 8);
  const known = new TextDecoder().decode(bytes.subarray(0, 4)) === "FPNN" && version === 1;
  if (!known || flag !== 0x80 || mtype > ANSWER) throw new Error("no package that the SDK reads");
  const start = mtype ? 16 : 12;
  const behind = start + (mtype === ANSWER ? 0 : ss);
  const psize = view.getUint32(8, true);
  if (bytes.length !== behind + psize) throw new Error("not one package in one message");
  return {
    mtype,
    status: ss,
    seq: mtype ? view.getUint32(12, true) : null,
    method: new TextDecoder().decode(bytes.subarray(start, behind)),
    params: unpack(bytes.subarray(behind)),
  };
}

// --- a connection ---

class Link {
  static open(url) {
    return new Promise((resolve, reject) => {
      const link = new Link(new WebSocket(url));
      link.socket.onopen = () => resolve(link);
      link.socket.onerror = () => reject(new Error(`no connection to ${url}`));
    });
  }

  constructor(socket) {
    this.socket = socket;
    this.seq = 0;
    this.asked = new Map(); // by seq
    this.pushes = []; // that nobody has taken
    this.closed = new Promise((resolve) => (socket.onclose = resolve));
    socket.binaryType = "arraybuffer";
    socket.onmessage = (event) => this.received(decodePackage(new Uint8Array(event.data)));
  }

  ask(method, params) {
    const name = UTF8.encode(method);
    const seq = ++this.seq;
    this.socket.send(encodePackage(QUEST, name.length, seq, name, params));
    return new Promise((resolve, reject) => {
      this.asked.set(seq, { resolve, reject });
      this.closed.then((event) => reject(new Error(`${method}: closed, ${event.code}`)));
    });
  }

  async pushed(method) {
    for (;;) {
      const at = this.pushes.findIndex((push) => push.method === method);
      if (at >= 0) return this.pushes.splice(at, 1)[0].params;
      await new Promise((resolve) => (this.rung = resolve));
    }
  }

  close() {
    this.socket.close();
    return this.closed;
  }

  received({ mtype, status, seq, method, params }) {
    if (mtype === ANSWER) {
      const { resolve, reject } = this.asked.get(seq);
      this.asked.delete(seq);
      if (status === 0) resolve(params);
      else reject(new Error(`${params.code}: ${params.ex}`));
      return;
    }
    if (mtype === QUEST) {
      this.socket.send(encodePackage(ANSWER, 0, seq, new Uint8Array(0), {}));
    }
    this.pushes.push({ method, params });
    this.rung?.();
  }
}
