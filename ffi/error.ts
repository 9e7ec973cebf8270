import { constants } from "node:os";

const errnoNames: ReadonlyMap<number, string> = new Map(
  Object.entries(constants.errno).map(([name, number]) => [number, name]),
);

/** The symbolic name of a positive errno, e.g. `EPERM`; `errno 524` for numbers that libc gives no name. */
export const errnoName = (errno: number): string => errnoNames.get(errno) ?? `errno ${errno}`;

/** A system or library call that failed: what was called, the errno it gave, and what to do about it. */
export class SystemError extends Error {
  override readonly name = "SystemError";

  constructor(
    readonly call: string,
    readonly errno: number,
    readonly advice?: string,
  ) {
    super(`${call}: ${errnoName(errno)}${advice === undefined ? "" : `; ${advice}`}`);
  }

  /** The symbolic name, e.g. `EPERM`. */
  get code(): string {
    return errnoName(this.errno);
  }
}

/** A handle that was used after it had been closed: always a defect in the caller. */
export class ClosedError extends Error {
  override readonly name = "ClosedError";

  constructor(what: string) {
    super(`${what} was used after it had been closed`);
  }
}
