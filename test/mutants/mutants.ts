/**
 * Changes of one line that no test may let pass: bun run mutants makes each in a copy of this checkout and has its
 * tests find it. A row is written where a fault was once possible that no test saw.
 */
export interface Mutant {
  /** What is wrong with the program then. */
  readonly name: string;
  readonly file: string;
  /** Stands in the file exactly once. */
  readonly text: string;
  readonly replacement: string;
  /** A file of tests, and what the names of those that must fail hold: each of them alone finds it. */
  readonly tests: readonly (readonly [file: string, name: string])[];
  readonly why: string;
}

const solver = "test/unit/offsets/solver.test.ts";
const many = "test/unit/offsets/many.test.ts";
const pointers = "test/unit/offsets/pointers.test.ts";
const steps = "test/unit/kernel/steps.test.ts";
const chase = "test/unit/kernel/chase.test.ts";
const witness = "test/unit/kernel/witness.test.ts";
const recorder = "test/e2e/recorder.test.ts";
const probe = "test/unit/tls/probe.test.ts";
const truth = "test/unit/offsets/truth.test.ts";
const child = "test/unit/tls/child.test.ts";
const seccomp = "test/unit/tls/seccomp.test.ts";

export const mutants: readonly Mutant[] = [
  {
    name: "truth: a table speaks of what lies behind its anchor",
    file: "src/offsets/truth.ts",
    text: "described <= anchor && (anchor",
    replacement: "(anchor",
    tests: [
      [truth, "not of what lies beyond"],
      [truth, "whatever a build leaves out"],
    ],
    why: "what a build leaves out behind an anchor moves what lies behind that",
  },
  {
    name: "truth: padding moves nothing",
    file: "src/offsets/truth.ts",
    text: "(anchor % COARSE !== 0 || described % COARSE === 0)",
    replacement: "anchor >= 0",
    tests: [[truth, "what padding may have let move"]],
    why: "an array of bytes may move by less than brings a pointer behind it out of its place",
  },
  {
    name: "truth: a refuted table goes on to speak",
    file: "src/offsets/truth.ts",
    text: "if (refuting !== undefined) return unresolved(silencedBy(refuting, struct.name));",
    replacement: "",
    tests: [[truth, "silences it for that whole struct"]],
    why: "OpenSSL without PSK has six constants elsewhere, of which not all are measured",
  },
  {
    name: "truth: what is assumed is told",
    file: "src/offsets/truth.ts",
    text: "allow.assumed ? described : null",
    replacement: "described",
    tests: [[truth, "alone is assumed"]],
    why: "a table of another build was printed, and baked into bytecode",
  },
  {
    name: "truth: a disputed figure is an anchor",
    file: "src/offsets/truth.ts",
    text: "measured !== null && measured === described && table?.disputed === undefined",
    replacement: "measured !== null && measured === described",
    tests: [[truth, "a disputed figure"]],
    why: "a figure that builds differ in tells nothing of the others",
  },
  {
    name: "table: a layout of the other kind describes a library",
    file: "src/tls/table.ts",
    text: "struct === null || connectionOf(layouts, Object.keys(constants)) === struct",
    replacement: "struct === null || connectionOf(layouts, Object.keys(constants)) !== null",
    tests: [["test/unit/tls/table.test.ts", "never of another kind"]],
    why: "a libssl of 3.0 beside a libcrypto of 3.5 had constants of both structs",
  },
  {
    name: "bytecode: a number is written whatever its status",
    file: "src/bytecode/constants.ts",
    text: "return isTold ? (constants[name] ?? null) : null;",
    replacement: "return isTold || true ? (constants[name] ?? null) : null;",
    tests: [["test/unit/bytecode/constants.test.ts", "only where its status vouches for it"]],
    why: "a value in conflict was baked, and the exit code was 0",
  },
  {
    name: "solver: what was not read proves a place",
    file: "src/offsets/solver.ts",
    text: "differ(samples.filter((one) => isRead(one, at)).map(({ expectation }) => expectation))",
    replacement: "differ(samples.map(({ expectation }) => expectation))",
    tests: [
      [solver, "longer than what was read"],
      [many, "what is solved is true"],
    ],
    why: "a place where nothing could be read holds every value, so to speak",
  },
  {
    name: "solver: one value solves a field",
    file: "src/offsets/solver.ts",
    text: "!offsets.some((at) => proven.has(at))",
    replacement: "offsets.length === 0",
    tests: [
      [solver, "one value alone never solves"],
      [many, "what is solved is true"],
    ],
    why: "zeroed or constant memory holds one value as well",
  },
  {
    name: "solver: a field of one value drives others out",
    file: "src/offsets/solver.ts",
    text: "other === undefined || !isProven(other)",
    replacement: "other === undefined",
    tests: [
      [solver, "one value alone speaks for"],
      [solver, "nor by a relation"],
      [many, "what is solved is true"],
    ],
    why: "it may lie beyond the window, and what it said of the others was false",
  },
  {
    name: "solver: a value that reaches into what was not read is compared",
    file: "src/offsets/solver.ts",
    text: "isReadable(observation, at, expectation.value.length)",
    replacement: "isReadable(observation, at, 1)",
    tests: [
      [solver, "reaches into what was not read"],
      [many, "what is solved is true"],
    ],
    why: "the zeros in the place of what was not read refuted the true offset",
  },
  {
    name: "solver: an array has place beyond the window",
    file: "src/offsets/solver.ts",
    text: "unrefuted(first, { ...shape, width }, longest)",
    replacement: "unrefuted(first, shape, longest)",
    tests: [[solver, "an array reaches as far"]],
    why: "at the end of the window no value was ever compared",
  },
  {
    name: "values under a mask: what is not compared tells them apart",
    file: "src/offsets/observation.ts",
    text: "if (((byte ^ before.value) & compared & before.mask) !== 0) return true;",
    replacement: "if (byte !== before.value && before.mask !== 0) return true;",
    tests: [
      [solver, "only in bits that are not compared"],
      [many, "expectations differ"],
    ],
    why: "the same bits of the same memory are one value",
  },
  {
    name: "pointers: what was not read in one observation is none",
    file: "src/offsets/pointers.ts",
    text: "pointerAt(each, at, addressing) !== null || !isReadable(each, at, POINTER)",
    replacement: "pointerAt(each, at, addressing) !== null",
    tests: [[pointers, "what was not read in some"]],
    why: "the true one was dropped, and another would be the only one then",
  },
  {
    name: "pointers: a tag makes a pointer none",
    file: "src/offsets/pointers.ts",
    text: "arm64: { tagBits: 8,",
    replacement: "arm64: { tagBits: 0,",
    tests: [
      [pointers, "whatever the tag"],
      ["test/unit/offsets/addresses.test.ts", "take the same words"],
    ],
    why: "kernels with MTE or KASAN tag what they allocate",
  },
  {
    name: "pointers: an error is an object",
    file: "src/offsets/pointers.ts",
    text: "address >= start && address < KERNEL_END",
    replacement: "address >= start",
    tests: [
      [pointers, "errors that stand where pointers do"],
      ["test/unit/offsets/addresses.test.ts", "take the same words"],
    ],
    why: "a window that begins there wraps around to the user's half",
  },
  {
    name: "chase: what lies behind an unmapped page may be of the struct",
    file: "src/kernel/snapshot/chase.ts",
    text: "return crop(part, end + toPage);",
    replacement: "return part;",
    tests: [[chase, "ends with the last page"]],
    why: "what was not read stays a candidate, and the true place is one of many then",
  },
  {
    name: "stepwise: values that differ under a mask alone are two",
    file: "src/kernel/stepwise/steps.ts",
    text: "!differ(samples.map(({ expectation }) => expectation))",
    replacement: "new Set(samples.map(({ expectation }) => expectation.value.join())).size < 2",
    tests: [[steps, "differs in bits that are not compared"]],
    why: "memory that never changes holds them all",
  },
  {
    name: "stepwise: the first place that holds is the answer",
    file: "src/kernel/stepwise/steps.ts",
    text: 'if (verdict === "holds") offsets.push(offset);',
    replacement: 'if (verdict === "holds") return { offsets: [offset] };',
    tests: [[steps, "a copy before it is found as well"]],
    why: "copies may lie before the field",
  },
  {
    name: "stepwise: the first pointer that leads there is the answer",
    file: "src/kernel/stepwise/steps.ts",
    text: "      members.add(behind);\n    }\n",
    replacement: "      members.add(behind);\n    }\n    if (members.size > 0) break;\n",
    tests: [[steps, "of two that lead there neither is believed"]],
    why: "another pointer leads there as well",
  },
  {
    name: "chase: a block that holds the value twice leads nowhere",
    file: "src/tls/probe/notes.ts",
    text: "for (const second of placesOf(notes.solve().get(member))) chains.push({ first, second });",
    replacement:
      "const [second, ...more] = placesOf(notes.solve().get(member));\n    if (second !== undefined && more.length === 0) chains.push({ first, second });",
    tests: [[probe, "a block that holds it twice"]],
    why: "another pointer would be the only one then, and be believed",
  },
  {
    name: "seccomp: a thread may be made with a namespace",
    file: "src/tls/child/seccomp.ts",
    text: "mask: thread | namespaces, values: [thread]",
    replacement: "mask: thread, values: [thread]",
    tests: [[seccomp, "makes threads, and no namespace"]],
    why: "CLONE_THREAD alone says nothing of the other flags",
  },
  {
    name: "seccomp: any fcntl",
    file: "src/tls/child/seccomp.ts",
    text: '["fcntl", 72, 25, plainFcntl]',
    replacement: '["fcntl", 72, 25]',
    tests: [[seccomp, "asks descriptors"]],
    why: "it sends signals, takes locks, and changes what the parent has open too",
  },
  {
    name: "seccomp: F_SETFL",
    file: "src/tls/child/seccomp.ts",
    text: "equals(1, 0, 1, 2, 3, 1030)",
    replacement: "equals(1, 0, 1, 2, 3, 4, 1030)",
    tests: [[seccomp, "asks descriptors"]],
    why: "flags belong to the description, which the parent shares",
  },
  {
    name: "confine: the groups of root stay",
    file: "ffi/libc.ts",
    text: 'check(c.setgroups(0, null), "setgroups");',
    replacement: "",
    tests: [[child, "none of the groups"]],
    why: "disk, docker or shadow among them open what nobody may not",
  },
  {
    name: "confine: others of the same user look into the child",
    file: "src/tls/child/confine.ts",
    text: "libc.setUndumpable();",
    replacement: "",
    tests: [["test/e2e/hostile.test.ts", "look into what it executes"]],
    why: "an ordinary user's child keeps its user, and so stays dumpable",
  },
  {
    name: "probe: a libcrypto of elsewhere serves the library",
    file: "src/tls/probe/job.ts",
    text: 'checkOrigin(ssl, "BIO_new", files[crypto]);',
    replacement: "",
    tests: [[child, "in another libcrypto"]],
    why: "another file would be measured than the one that was asked for",
  },
  {
    name: "probe: S3 is told whatever stands before client_random",
    file: "src/tls/probe/openssl.ts",
    text: "return isBehindServer\n",
    replacement: "return isBehindServer || true\n",
    tests: [[probe, "another member is in front"]],
    why: "the distance is known of structs that have server_random there, of no others",
  },
  {
    name: "probe: the child names any constant",
    file: "src/tls/probe/request.ts",
    text: "constant: v.picklist([...bounds.keys()])",
    replacement: "constant: v.string()",
    tests: [[probe, "may name what its library can have"]],
    why: "a forged PATH=7 reaches a shell by --format env",
  },
  {
    name: "probe: the child says a thing twice",
    file: "src/tls/probe/request.ts",
    text: "new Set(all.map(({ constant }) => constant)).size === all.length",
    replacement: "all.length >= 0",
    tests: [[probe, "may name what its library can have"]],
    why: "what one source says twice would be confirmed",
  },
  {
    name: "netns: the thread stays away after an exception",
    file: "src/net/namespace.ts",
    text: "  try {\n    return act();\n  } finally {\n    comeHome(home);\n  }",
    replacement: "  const result = act();\n  comeHome(home);\n  return result;",
    tests: [["test/unit/net/namespace.test.ts", "brought home"]],
    why: "all that follows would be asked of another namespace",
  },
  {
    name: "chaseSocket: the inode number is not asked",
    file: "src/kernel/snapshot/chase.ts",
    text: "occurs(crop(target, SOCKET_ALLOC), host(8, inode).value)",
    replacement: "target !== undefined && inode >= 0",
    tests: [[chase, "is of no inode"]],
    why: "other structs of a socket's own point back to it as well",
  },
  {
    name: "chaseSocket: a socket that points back twice is none",
    file: "src/kernel/snapshot/chase.ts",
    text: "placesOf(solve([sk], [], targets.map(socketOf)).get(sk.constant)).length > 0",
    replacement: "placesOf(solve([sk], [], targets.map(socketOf)).get(sk.constant)).length === 1",
    tests: [[chase, "points back twice"]],
    why: "another pointer would be the only one then, and be believed",
  },
  {
    name: "witness: timing that moved is believed",
    file: "src/kernel/snapshot/witness.ts",
    text: "after.rtt === before.rtt && after.rttvar === before.rttvar",
    replacement: "true",
    tests: [[witness, "timing is believed"]],
    why: "the copy was made at a moment between the two readings",
  },
  {
    name: "witness: whatever changes its state is our idle socket",
    file: "src/kernel/snapshot/witness.ts",
    text: "!viaStates || (from === TCP_CLOSE && to === TCP_LISTEN)",
    replacement: "from === from && to === to",
    tests: [[recorder, "done for another socket"]],
    why: "a timer's change of another socket's state led to that one's namespace, and to a wrong offset_ino",
  },
  {
    name: "chase: a number behind struct net is told though it was found once",
    file: "src/kernel/snapshot/chase.ts",
    text: "again.length !== 1 || again[0] !== found.offset",
    replacement: "again.length < 0",
    tests: [[recorder, "dead namespace"]],
    why: "one in 555 runs told the place of a dead namespace's number, which the kernel had given again",
  },
  {
    name: "witness: every struct is ours",
    file: "src/kernel/snapshot/witness.ts",
    text: "occurs(hit, own.address) && (peer === undefined || occurs(hit, peer.address))",
    replacement: "hit !== undefined || own === peer",
    tests: [[witness, "a struct is ours"]],
    why: "packets of others arrive on this thread too",
  },
  {
    name: "deadline: a late result is taken",
    file: "src/deadline.ts",
    text: "return now() > watch.end ? late(result, lateness(watch)) : result;",
    replacement: "return result;",
    tests: [["test/unit/deadline.test.ts", "too late"]],
    why: "the thread that watches may not be there yet",
  },
  {
    name: "bytecode: constants lie over each other",
    file: "src/bytecode/object.ts",
    text: "if (other !== undefined) throw",
    replacement: "if (other === name) throw",
    tests: [["test/unit/bytecode/object.test.ts", "lie over each other"]],
    why: "the second value spoils the first, and a program reads with both",
  },
  {
    name: "BTF: a bit-field inside a byte has an offset",
    file: "src/kernel/btf.ts",
    text: 'place.bitOffset % 8 === 0 ? place.bitOffset / 8 : "it begins inside a byte"',
    replacement: "Math.floor(place.bitOffset / 8)",
    tests: [["test/unit/btf/btf.test.ts", "a bit-field that starts inside a byte"]],
    why: "whoever reads there gets its neighbours as well",
  },
  {
    name: "BTF: of two types of one name the first is told",
    file: "src/btf/member.ts",
    text: "return isOne ? first :",
    replacement: "return isOne || first !== undefined ? first :",
    tests: [["test/unit/btf/btf.test.ts", "two structs of one name"]],
    why: "the other may be the one that is meant",
  },
  {
    name: "fleet: what most machines tell is the layout",
    file: "src/fleet/merge.ts",
    text: "if (votes.size > 1) {",
    replacement: "if (votes.size > 1 && mostOf(votes) === null) {",
    tests: [["test/unit/fleet/merge.test.ts", "a liar is named"]],
    why: "a majority is no proof",
  },
  {
    name: "processes: other users' take all the time",
    file: "src/tls/processes.ts",
    text: "if (budget.isSpent || files.size >= most)",
    replacement: "if (files.size >= most)",
    tests: [["test/unit/tls/processes.test.ts", "where nothing is left"]],
    why: "a user with many processes would hold a run of root's until its deadline",
  },
  {
    name: "lanes: what comes of each stands as it came",
    file: "src/tls/lanes.ts",
    text: "results[index] = await act(one, index);",
    replacement: "results.push(await act(one, index));",
    tests: [["test/unit/tls/lanes.test.ts", "stands in their order"]],
    why: "the same machine would print another document each time",
  },
  {
    name: "deadline: parts stand as they came",
    file: "src/output/partial.ts",
    text: "one.rank - other.rank",
    replacement: "other.rank - one.rank",
    tests: [["test/unit/output/partial.test.ts", "in any order"]],
    why: "what is printed at the deadline stands in the order of the whole",
  },
  {
    name: "netlink: a number may have any width",
    file: "src/net/netlink.ts",
    text: "if (bytes.length === 4) return",
    replacement: "if (bytes.length >= 4) return",
    tests: [
      ["test/unit/net/netlink.test.ts", "a number has four bytes"],
      ["test/fuzz/fuzz.test.ts", "nothing wrong"],
    ],
    why: "eight bytes became an interface of that number",
  },
  {
    name: "log: what others wrote reaches the terminal",
    file: "src/output/log.ts",
    text: 'printable(args.join(" "))',
    replacement: 'args.join(" ")',
    tests: [["test/e2e/printable.test.ts", "and --verbose"]],
    why: "a path that is told under --verbose cleared the screen",
  },
  {
    name: "stdout: a closed one is as good as any",
    file: "src/output/stdout.ts",
    text: "closed ??= wasClosed();",
    replacement: "closed ??= false;",
    tests: [["test/e2e/stdout.test.ts", "standard output that"]],
    why: "the runtime puts /dev/null in its place, and the run ended with 0",
  },
];
