import { host, raw } from "../../offsets/values.ts";
import { array, char } from "../synthetic/ctype.ts";
import { known, leads, struct, type Thing, value } from "./row.ts";
import { s16, s32, to } from "./typedefs.ts";

/** What is known of what makes terminals of a kind. */
export interface DriverFacts {
  readonly major: number;
  readonly subtype: number;
}

/** include/linux/tty_driver.h. Its names lie anywhere, where nothing is followed. */
export const ttyDriver = struct<DriverFacts>("tty_driver", 256, ["major", "subtype"], {
  major: value(s32, ({ major }) => known(major, (it) => host(4, it))),
  subtype: value(s16, ({ subtype }) => known(subtype, (it) => host(2, it))),
});

/** What is known of one side of a terminal. */
export interface TerminalFacts {
  readonly name: string;
  readonly index: number;
  readonly driver: Thing;
  readonly other: Thing;
}

/** include/linux/tty.h. */
export const ttyStruct = struct<TerminalFacts>("tty_struct", 1024, ["name", "index"], {
  index: value(s32, ({ index }) => known(index, (it) => host(4, it))),
  name: value(array(char, 64), ({ name }) => known(name, (it) => raw(new TextEncoder().encode(`${it}\0`)))),
  driver: leads(to("tty_driver"), ({ driver }) => driver),
  link: leads(to("tty_struct"), ({ other }) => other),
});

/** What an open terminal's file leads to: include/linux/tty.h. */
export const ttyFile = struct<{ readonly terminal: Thing; readonly file: Thing }>(
  "tty_file_private",
  64,
  ["tty"],
  {
    tty: leads(to("tty_struct"), ({ terminal }) => terminal),
    file: leads(to("file"), ({ file }) => file),
  },
);

/** What all threads of a process share. */
export interface SignalFacts {
  /** The controlling terminal; null where it has none. */
  readonly terminal: Thing | null;
  /** Whether it leads its session. */
  readonly isLeader: boolean;
  readonly process: Thing;
  readonly group: Thing;
  readonly session: Thing;
}

/** include/linux/sched/signal.h. */
export const signalStruct = struct<SignalFacts>(
  "signal_struct",
  2048,
  ["pids[1]"],
  {
    "pids[1]": { ...leads(to("pid"), ({ process }) => process), since: [4, 19] },
    "pids[2]": { ...leads(to("pid"), ({ group }) => group), since: [4, 19] },
    "pids[3]": { ...leads(to("pid"), ({ session }) => session), since: [4, 19] },
    tty: leads(to("tty_struct"), ({ terminal }) => terminal),
    leader: value(s32, ({ isLeader }) => known(isLeader, (it) => host(4, it ? 1 : 0))),
  },
  {
    relations: [
      { kind: "adjacent", first: "pids[1]", second: "pids[2]", because: "pids is an array" },
      { kind: "adjacent", first: "pids[2]", second: "pids[3]", because: "pids is an array" },
    ],
  },
);
