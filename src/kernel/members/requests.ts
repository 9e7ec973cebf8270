import { host } from "../../offsets/values.ts";
import { known, leads, struct, type Thing, value } from "./row.ts";
import { s64, to } from "./typedefs.ts";

/** What is known of a read or write that is under way. */
export interface RequestFacts {
  readonly file: Thing;
  readonly position: bigint;
}

/** include/linux/fs.h; 48 bytes. Every request of io_uring for reading or writing begins with one. */
export const kiocb = struct<RequestFacts>("kiocb", 64, ["ki_filp", "ki_pos"], {
  ki_filp: leads(to("file"), ({ file }) => file),
  ki_pos: value(s64, ({ position }) => known(position, (it) => host(8, it))),
});

/** The link by which a request waits in a list: the last member of struct wait_queue_entry (include/linux/wait.h). The request is named before it. */
const waiting = struct<{ readonly request: Thing }>(
  "the link of what waits",
  16,
  ["private"],
  { private: { ...leads(to("void"), ({ request }) => request), isNamed: true } },
  { before: 64 },
);

/** What the file of an eventfd leads to: fs/eventfd.c; 56 bytes. */
export const eventfd = struct<{ readonly request: Thing }>("eventfd_ctx", 96, ["wqh.head.next"], {
  "wqh.head.next": {
    ...leads(to("list_head"), ({ request }) => known(request, (it) => waiting.of({ request: it }))),
    isNamed: true,
  },
});
