// The JavaScript SDK in Node: node node.js FOLDER ORDERS, as JSON; the report goes to stdout.
// Node lacks what the SDK takes from a page: a FileReader, before version 22 also a WebSocket.
"use strict";

const fs = require("fs");
const path = require("path");
const vm = require("vm");

const SCRIPTS = ["md5", "int64", "msgpack", "fpnn"].map((name) => `libs/${name}.min.js`);
const [folder, text] = process.argv.slice(2);
const orders = JSON.parse(text);

globalThis.window = globalThis;
globalThis.FileReader = class {
  async readAsArrayBuffer(blob) {
    this.onload({ target: { result: await blob.arrayBuffer() } });
  }
};
if (!globalThis.WebSocket) {
  console.error("this Node has no WebSocket: take version 22, or the option --experimental-websocket");
  process.exit(2);
}
globalThis.WebSocket = class extends globalThis.WebSocket {
  // where the browser has its --host-resolver-rules
  constructor(url) {
    const { host } = new URL(url);
    super(url.replace(host, orders.hosts[host] ?? host));
  }
};
const log = console.log;
console.log = () => {}; // the SDK says how long each file is

for (const script of [...SCRIPTS, "dist/rtm.min.js"]) {
  const file = path.join(folder, script);
  vm.runInThisContext(fs.readFileSync(file, "utf8"), { filename: file });
}
vm.runInThisContext(fs.readFileSync(path.join(__dirname, "scenario.js"), "utf8"));

runScenario(orders).then(
  (steps) => {
    log(JSON.stringify({ version: rtm.RTMConfig.SDK_VERSION, steps }));
    process.exit(0); // the SDK's timers go on for ever
  },
  (fault) => {
    log(JSON.stringify({ fault: `${fault}\n${fault.stack}` }));
    process.exit(1);
  },
);
