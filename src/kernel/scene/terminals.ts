import { SystemError } from "../../../ffi/error.ts";
import { openTerminal } from "../../../ffi/process.ts";
import type { Thing } from "../members/row.ts";
import { type TerminalFacts, ttyDriver, ttyFile, ttyStruct } from "../members/signal.ts";
import type { Mutable } from "./known-facts.ts";
import type { Files } from "./open-files.ts";

/** A pseudoterminal of ours. */
export interface Terminal {
  /** Where a program opens it. */
  readonly path: string;
  /** The side that programs see. */
  readonly thing: Thing;
  /** As stat(2) numbers it: field 7 of /proc/PID/stat. */
  readonly device: number;
}

/** UNIX98_PTY_MASTER_MAJOR and UNIX98_PTY_SLAVE_MAJOR: include/uapi/linux/major.h; and PTY_TYPE_* of tty_driver.h. */
const [MASTERS, SLAVES] = [
  { major: 128, subtype: 1 },
  { major: 136, subtype: 2 },
];
/** So many terminals have one major number. */
const MINORS = 256;

/** Terminals that nobody looks at. */
export class Terminals {
  readonly #drivers = [ttyDriver.of(MASTERS), ttyDriver.of(SLAVES)] as const;

  constructor(
    private readonly owned: DisposableStack,
    private readonly files: Files,
  ) {}

  /** @returns null where there are none, or more than one major number has */
  open(): Terminal | null {
    try {
      const { descriptor, number } = openTerminal();
      this.owned.use(descriptor);
      if (number >= MINORS) return null;
      const [masters, slaves] = this.#drivers;
      const master: Mutable<Partial<TerminalFacts>> = {
        name: `ptm${number}`,
        index: number,
        driver: masters,
      };
      const slave: Mutable<Partial<TerminalFacts>> = { name: `pts${number}`, index: number, driver: slaves };
      const [one, thing] = [ttyStruct.of(master), ttyStruct.of(slave)];
      [master.other, slave.other] = [thing, one];
      const facts: { terminal: Thing; file?: Thing } = { terminal: one };
      facts.file = this.files.add(descriptor, ttyFile.of(facts));
      return { path: `/dev/pts/${number}`, thing, device: (SLAVES.major << 8) | number };
    } catch (error) {
      if (error instanceof SystemError) return null;
      throw error;
    }
  }
}
