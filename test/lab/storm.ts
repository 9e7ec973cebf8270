import * as v from "valibot";
import { type CommandResult, type GuestFile, text } from "./guest.ts";

/** What goes on beside a run: each thing is counted, and the counts are in a file for each of the two programs. */
const countsSchema = v.object({
  connections: v.number(),
  datagrams: v.number(),
  processes: v.number(),
  files: v.number(),
  entries: v.number(),
  namespaces: v.number(),
});
export type StormCounts = v.InferOutput<typeof countsSchema>;

/**
 * Connections of both families, of which the last 64 stay open so that a run's own sockets have neighbours, and
 * datagrams, without an end.
 */
const SOCKETS = `
import { renameSync, writeFileSync } from "node:fs";
const loopbacks = ["127.0.0.1", "::1"];
const counts = { connections: 0, datagrams: 0 };
const open = [];
const servers = loopbacks.map((hostname) =>
  Bun.listen({ hostname, port: 0, socket: { data: (socket) => void socket.write("y") } }));
const udps = await Promise.all(loopbacks.map((hostname) => Bun.udpSocket({ hostname })));
for (;;) {
  for (const [index, { hostname, port }] of servers.entries()) {
    const socket = { open: (s) => void s.write("x"), data() {}, error() {} };
    open.push(await Bun.connect({ hostname, port, socket }));
    if (open.length > 64) open.shift().end();
    counts.connections++;
    for (let each = 0; each < 4; each++) if (udps[index].send("x", udps[index].port, hostname)) counts.datagrams++;
  }
  if (counts.connections % 20 === 0) {
    writeFileSync("/tmp/sockets.new", JSON.stringify(counts));
    renameSync("/tmp/sockets.new", "/tmp/sockets");
  }
}
`;

/** Processes, files, connection tracking entries and network namespaces that come and go, without an end. */
const PROCESSES = `
n=0
while :; do
  n=$((n + 1)); low=$((n % 250 + 1)); file=/tmp/file.$low
  entry="-s 10.1.0.$low -d 10.2.0.$low -p tcp --sport $((n % 60000 + 1024)) --dport 80"
  echo $n >$file; mv $file $file.moved; rm $file.moved
  conntrack -I $entry --state ESTABLISHED -t 60 -u SEEN_REPLY && conntrack -D $entry
  [ $((n % 20)) = 0 ] && unshare -n true
  echo '{"processes":'$((n * 5))',"files":'$n',"entries":'$n',"namespaces":'$((n / 20))'}' >/tmp/processes.new
  mv /tmp/processes.new /tmp/processes
done
`;

/** Of the guest, for a storm made by Bun at the path \`runtime\` of this machine. */
export const stormFiles = (runtime: string): Record<string, GuestFile> => ({
  "/opt/bun": { from: runtime },
  "/opt/sockets.mjs": { content: SOCKETS },
  "/opt/processes.sh": { content: PROCESSES },
});
export const STORM_PACKAGES = ["conntrack", "libnetfilter-conntrack3", "libmnl0", "libnfnetlink0"];
export const STORM_MODULES = ["nf_conntrack_netlink"];

/** Starts the storm and waits until it blows, or is over. It leaves a run the greater part of the only processor. */
export const BREW = `
renice -n 10 -p $$
/opt/bun /opt/sockets.mjs >/tmp/storm.log 2>&1 & echo $! >/tmp/storm.pids
sh /opt/processes.sh >/tmp/processes.log 2>&1 & echo $! >>/tmp/storm.pids
until [ -e /tmp/sockets ] && [ -e /tmp/processes ]; do kill -0 $(cat /tmp/storm.pids) || break; sleep 0.1; done
`;
/** Fails when the storm is over. */
export const COUNTS =
  "kill -0 $(cat /tmp/storm.pids) && cat /tmp/sockets /tmp/processes || { cat /tmp/storm.log; tail -n 20 /tmp/processes.log; exit 1; }";

/** What COUNTS printed. Throws when the storm is over. */
export function stormCounts({ stdout, stderr, status }: CommandResult): StormCounts {
  if (status !== 0) throw new Error(`the storm is over: ${text(stdout)}${text(stderr)}`);
  return v.parse(countsSchema, JSON.parse(text(stdout).replace(/\}\s*\{/, ",")));
}
