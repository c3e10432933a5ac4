// What an app does with the JavaScript SDK, step by step; the SDK's own scripts are loaded already.
// Runs in a page and in Node: the SDK is told nothing of where it runs.
"use strict";

const TIMEOUT = 5000; // milliseconds that a call may take
const PUSHES = [
  "kickout", "ping", "pushfile", "pushgroupfile", "pushroomfile", "pushbroadcastfile", "pushchat",
  "pushgroupchat", "pushroomchat", "pushmsg", "pushgroupmsg", "pushroommsg", "pushbroadcastmsg",
];
const EVENTS = ["SessionClosed", "ReloginCompleted", "ErrorRecorder"];

const int64 = (value) => new rtm.RTMConfig.Int64(value);
const sleep = (seconds) => new Promise((done) => setTimeout(done, 1000 * seconds));

function expect(what, got, wanted) {
  const [told, right] = [got, wanted].map((value) => JSON.stringify(value));
  if (told !== right) throw new Error(`${what} is ${told}, not ${right}`);
}

// A user with an SDK client, and everything that was told to it.
class User {
  constructor({ host, port, pid, md5 }, uid) {
    this.uid = uid;
    this.client = new rtm.RTMClient({ endpoint: `${host}:${port}`, pid, md5 });
    this.told = [];
    for (const name of PUSHES) this.client.processor.on(name, (data) => this.tell(name, data));
    for (const name of EVENTS) this.client.on(name, (...data) => this.tell(name, data));
  }

  tell(name, data) {
    this.told.push({ name, data });
  }

  // The next of that name, within so many seconds.
  async next(name, seconds = 5) {
    for (const end = Date.now() + 1000 * seconds; Date.now() < end; await sleep(0.02)) {
      const at = this.told.findIndex((one) => one.name === name);
      if (at >= 0) return this.told.splice(at, 1)[0].data;
    }
    const others = this.told.map((one) => one.name);
    throw new Error(`no ${name} came within ${seconds} s, only [${others}]`);
  }

  logIn(token) {
    return new Promise((done) => {
      this.client.login(int64(this.uid), token, (ok, code) => done([ok, code]), TIMEOUT);
    });
  }

  // Any method that ends with a timeout and a callback.
  ask(method, ...args) {
    const asked = new Promise((done, fail) => {
      this.client[method](...args, TIMEOUT, (err, data) => {
        if (!err) done(data);
        else if (!err.mid || err.mid > 0) fail(err.error ?? err); // a send's error has its mid
        else fail(new Error(`${method}: an error without a mid`));
      });
    });
    const late = sleep(2 + TIMEOUT / 1000).then(() => {
      const notes = this.told.filter(({ name }) => name === "ErrorRecorder").map(({ data }) => data);
      throw new Error(`${method}: the callback was never called; the SDK noted [${notes}]`);
    });
    return Promise.race([asked, late]);
  }

  // Ask for what has to be refused with that code.
  async refused(code, method, ...args) {
    let said;
    try {
      said = await this.ask(method, ...args);
    } catch (error) {
      if (error.code === code) return;
      throw error;
    }
    throw new Error(`${method} was not refused with ${code}, it gave ${JSON.stringify(said)}`);
  }
}

function bytes(size) {
  return Uint8Array.from({ length: size }, (_, i) => i * 31 + 7);
}

async function checkFile(data, sender, file, target = {}) {
  expect("from", String(data.from), String(sender.uid));
  for (const key in target) expect(key, String(data[key]), String(target[key]));
  const { url, size } = JSON.parse(data.msg);
  expect("size", size, file.size);
  expect("rtm in attrs", typeof JSON.parse(data.attrs).rtm, "object");
  const answer = await fetch(url);
  const came = new Uint8Array(await answer.arrayBuffer());
  const sent = new Uint8Array(await file.arrayBuffer());
  expect("the file", [answer.status, md5(came)], [200, md5(sent)]);
}

function checkHistory({ msgs, num }, mid, other = {}) {
  expect("num", num, msgs.length);
  const [last] = msgs;
  expect("mid", String(last.mid), String(mid));
  expect("mtype", last.mtype, 40);
  expect("url", typeof JSON.parse(last.msg).url, "string");
  for (const key in other) expect(key, String(last[key]), String(other[key]));
}

async function runScenario(orders) {
  const steps = [];
  const { tokens, gid, rid } = orders;
  const [alice, bob, carol] = Object.keys(tokens).map((uid) => new User(orders, uid));
  const mids = {};

  async function step(name, work) {
    try {
      await work();
      steps.push({ name, ok: true });
    } catch (fault) {
      steps.push({ name, ok: false, told: String(fault), stack: fault.stack });
    }
  }

  async function send(kind, sender, receiver, push, file, ...target) {
    const { mid, payload } = await sender.ask(kind, 40, int64(target[1]), file, int64(0));
    expect("mtime", payload.mtime > 1.5e12, true);
    const data = await receiver.next(push);
    expect("mid", String(data.mid), String(mid));
    expect("mtime", String(data.mtime), String(payload.mtime));
    await checkFile(data, sender, file, { [target[0]]: target[1] });
    mids[kind] = mid;
  }

  await step("a wrong token is told", async () => {
    expect("login", await alice.logIn("wrong"), [false, 0]);
  });
  await step("log in", async () => {
    for (const user of [alice, bob]) expect("login", await user.logIn(tokens[user.uid]), [true, 0]);
  });

  const small = new File([bytes(1000)], "small.jpg");
  await step("send a file", () => send("sendFile", alice, bob, "pushfile", small, "to", bob.uid));
  for (const [name, size] of [["nothing.txt", 0], ["no dot", 1], ["large.bin", 5242880]]) {
    const file = new File([bytes(size)], name);
    await step(`send a file of ${size.toLocaleString("en")} bytes`, () =>
      send("sendFile", bob, alice, "pushfile", file, "to", alice.uid),
    );
  }
  await step("a mid is delivered once", async () => {
    const again = [40, int64(bob.uid), small];
    const { mid } = await alice.ask("sendFile", ...again, int64(0));
    await alice.refused(200053, "sendFile", ...again, mid);
    await bob.next("pushfile");
  });
  for (const size of [5242881, 9000000]) {
    await step(`a file of ${size.toLocaleString("en")} bytes is refused`, () => {
      const file = new File([bytes(size)], "huge");
      return alice.refused(200031, "sendFile", 40, int64(bob.uid), file, int64(0));
    });
  }
  await step("file tokens", async () => {
    for (const [cmd, ...who] of [["sendfile", undefined, int64(5)], ["sendroomfile", , , int64(6)]]) {
      while (who.length < 4) who.push(undefined);
      const { token, endpoint } = await alice.ask("fileToken", cmd, ...who);
      expect("token and endpoint", [typeof token, endpoint.split(":").length], ["string", 2]);
    }
  });

  await step("only members send to a group", () =>
    bob.refused(200041, "sendGroupFile", 40, int64(gid + 1), small, int64(0)),
  );
  await step("add members to a group", () =>
    alice.ask("addGroupMembers", int64(gid), [alice, bob].map(({ uid }) => int64(uid))),
  );
  await step("send a file to a group", () =>
    send("sendGroupFile", alice, bob, "pushgroupfile", small, "gid", gid),
  );
  await step("members and groups", async () => {
    const { uids } = await bob.ask("getGroupMembers", int64(gid), undefined);
    expect("members", uids.map(String).sort(), [alice.uid, bob.uid].sort());
    expect("groups", (await bob.ask("getUserGroups")).map(String), [String(gid)]);
  });

  await step("only who is in a room sends to it", () =>
    bob.refused(200040, "sendRoomFile", 40, int64(rid), small, int64(0)),
  );
  await step("enter a room", async () => {
    for (const user of [alice, bob]) await user.ask("enterRoom", int64(rid));
  });
  await step("send a file to a room", () =>
    send("sendRoomFile", alice, bob, "pushroomfile", small, "rid", rid),
  );
  await step("rooms", async () => {
    expect("rooms", (await bob.ask("getUserRooms")).map(String), [String(rid)]);
    await bob.ask("leaveRoom", int64(rid));
    expect("rooms", (await bob.ask("getUserRooms")).map(String), []);
    await bob.ask("enterRoom", int64(rid));
  });

  const chats = [
    ["sendMessage", bob.uid, "pushchat", "pushmsg"],
    ["sendGroupMessage", gid, "pushgroupchat", "pushgroupmsg"],
    ["sendRoomMessage", rid, "pushroomchat", "pushroommsg"],
  ];
  for (const [method, target, chat, other] of chats) {
    await step(`${method}, text and an app's own type`, async () => {
      for (const [mtype, push] of [[30, chat], [66, other]]) {
        const words = `schöne Grüße ${mtype} 你好`;
        const sent = await alice.ask(method, int64(target), mtype, words, "attrs", int64(0));
        const data = await bob.next(push);
        expect("msg, attrs", [data.msg, data.attrs], [words, "attrs"]);
        expect("mid", String(data.mid), String(sent.mid));
        expect("mtime", String(data.mtime), String(sent.payload.mtime));
      }
    });
  }

  const range = [true, 10, undefined, undefined, undefined, [40]];
  await step("history with a user, from both sides", async () => {
    const { mid } = await alice.ask("sendFile", 40, int64(bob.uid), small, int64(0));
    await bob.next("pushfile");
    const [mine, his] = [
      await alice.ask("getP2PMessage", int64(bob.uid), ...range),
      await bob.ask("getP2PMessage", int64(alice.uid), ...range),
    ];
    for (const page of [mine, his]) checkHistory(page, mid);
    expect("directions", [mine, his].map(({ msgs }) => msgs[0].direction), [1, 2]);
  });
  await step("history, page by page", async () => {
    const seen = [];
    for (let lastid = undefined; seen.length < 3; ) {
      const some = [true, 1, undefined, undefined, lastid, [40]];
      const page = await alice.ask("getP2PMessage", int64(bob.uid), ...some);
      expect("num", [page.num, page.msgs.length], [1, 1]);
      seen.push(String(page.msgs[0].id));
      lastid = page.lastid;
    }
    expect("different messages", new Set(seen).size, 3);
  });
  await step("history of a group and of a room", async () => {
    const group = await bob.ask("getGroupMessage", int64(gid), ...range);
    checkHistory(group, mids.sendGroupFile, { from: alice.uid });
    const room = await bob.ask("getRoomMessage", int64(rid), ...range);
    checkHistory(room, mids.sendRoomFile, { from: alice.uid });
  });
  await step("history of broadcasts", async () => {
    expect("messages", (await bob.ask("getBroadcastMessage", ...range)).msgs, []);
  });
  await step("unread files of who was away", async () => {
    const { mid } = await alice.ask("sendFile", 40, int64(carol.uid), small, int64(0));
    expect("login", await carol.logIn(tokens[carol.uid]), [true, 0]);
    for (const from of [[String(alice.uid)], []]) {
      const { p2p, group } = await carol.ask("getUnreadMessage", true);
      expect("unread", [p2p.map(String), group], [from, []]);
    }
    checkHistory(await carol.ask("getP2PMessage", int64(alice.uid), ...range), mid);
  });

  await step("log in again by itself", async () => {
    alice.client.startAutoReconnect();
    expect("relogin", await alice.next("ReloginCompleted", 10), [true, false, 0, 1]);
    await send("sendFile", bob, alice, "pushfile", small, "to", alice.uid);
  });
  await step("be kicked out by a login elsewhere, and stay out", async () => {
    const elsewhere = new User(orders, bob.uid);
    expect("login", await elsewhere.logIn(tokens[bob.uid]), [true, 0]);
    await bob.next("kickout");
    expect("closed", await bob.next("SessionClosed"), [0]);
    await sleep(1);
    expect("relogins", bob.told.filter(({ name }) => name === "ReloginCompleted"), []);
    await send("sendFile", alice, elsewhere, "pushfile", small, "to", bob.uid);
  });
  await step("be pinged", () => carol.next("ping", 25));
  await step("say goodbye", async () => {
    alice.client.bye();
    expect("closed", await alice.next("SessionClosed"), [0]);
  });
  return steps;
}
