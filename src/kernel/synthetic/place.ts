import { type KernelConstant, type KernelMember, kernelFields } from "../fields/fields.ts";
import { array, at, type CMember, type Composite, sizeOf, struct, union } from "./ctype.ts";
import { type Declared, declared, memberTypes, pairs, tuple } from "./declarations.ts";

/** A constant's offset in bytes, or why it cannot be relied on. */
export type KnownOffset = { readonly value: number } | { readonly why: string };

/** A member without a place in the structs. */
export interface Unplaced {
  /** `type.member`, as constants name it. */
  readonly member: string;
  readonly why: string;
}

/** A member that only a crawl measures, and what is known of its place. */
export interface Wide extends Pick<CMember, "type" | "bits"> {
  readonly member: string;
  readonly known: KnownOffset;
}

/** A member at its offset from the start of the outermost struct. */
interface Placed extends Pick<CMember, "offset" | "type" | "bits"> {
  /** Names of the members on the way to it. */
  readonly steps: readonly string[];
}

/**
 * The structs of which at least one member is known, in the order of `declared`. Between known members lies padding,
 * and each struct ends behind its last known one. Structs that are members of others begin with their first known
 * member and have no name: `net.ns.inum` is known from the start of struct net, so a program that reads it is served,
 * and one that asks where inum lies in struct ns_common is refused by libbpf instead of misled.
 */
export function placeMembers(
  known: (constant: KernelConstant) => KnownOffset,
  wide: readonly Wide[] = [],
): {
  structs: readonly Composite[];
  unplaced: readonly Unplaced[];
  /** Members that only a crawl measures, and of which no place is known. */
  unmeasured: readonly Unplaced[];
} {
  const placed = new Map<string, Placed[]>();
  const place = (name: string, member: Placed) => placed.set(name, [...(placed.get(name) ?? []), member]);
  const unplaced: Unplaced[] = [];
  const hashes = tupleHashes(known("offset_ct_origin"), known("offset_ct_reply"));
  if ("type" in hashes) place("nf_conn", hashes);
  for (const [member, rows] of Map.groupBy(kernelFields, (row): KernelMember => row.member)) {
    const answer = agreed(rows.map(({ constant }) => known(constant)));
    const type = memberTypes[member];
    const [name = "", ...steps] = member.split(".");
    if ("why" in answer) unplaced.push({ member, why: answer.why });
    else if (type !== tuple) place(name, { steps, offset: answer.value, type });
    else if ("why" in hashes) unplaced.push({ member, why: hashes.why });
  }
  const unmeasured: Unplaced[] = [];
  for (const { member, type, bits, known: answer } of wide.filter(isPlaceable)) {
    const [name = "", ...steps] = member.split(".");
    if ("why" in answer) unmeasured.push({ member, why: answer.why });
    else place(name, { steps, offset: answer.value, type, ...(bits && { bits }) });
  }
  const structs = new Map<string, Composite>();
  const others = [...placed.keys()].filter((name) => declared.every((each) => each.name !== name));
  for (const { name, base } of [...declared, ...others.map((name): Declared => ({ name }))]) {
    const first = structs.get(base?.struct ?? "");
    const start: Placed[] =
      base === undefined || first === undefined ? [] : [{ steps: [base.member], offset: 0, type: first }];
    const members = [...start, ...paired(name, placed.get(name) ?? [])];
    if (members.length > 0) structs.set(name, compose(name, members, 0));
  }
  return { structs: [...structs.values()], unplaced, unmeasured };
}

/** Members of a struct with those of `pairs` in their unions, where both lie as these have them. */
function paired(name: string, members: readonly Placed[]): readonly Placed[] {
  return pairs.reduce((all, pair) => {
    const [first, second] = [pair.first, pair.second].map((member) =>
      all.find(({ steps }) => `${name}.${steps.join(".")}` === member),
    );
    const size = sizeOf(pair.type);
    if (first === undefined || second?.offset !== first.offset + size / 2) return all;
    const parts = [first, second].map((part) =>
      at(part.offset - first.offset, part.steps[0] ?? "", part.type),
    );
    const type = union("", size, { [pair.name]: pair.type, "": struct("", size, ...parts) });
    const rest = all.filter((one) => one !== first && one !== second);
    return [...rest, { steps: [""], offset: first.offset, type }];
  }, members);
}

/** Whether a member is to be placed by itself: a constant may name it already, or it may come with the type of another member. */
const isPlaceable = ({ member }: Wide): boolean =>
  !Object.hasOwn(memberTypes, member) && !/^(qstr|path|upid|sk_buff_head)\./.test(member);

/** What constants say together that name the same member, as those of net.ns.inum do. */
function agreed(answers: readonly KnownOffset[]): KnownOffset {
  const values = new Set(answers.flatMap((answer) => ("value" in answer ? answer.value : [])));
  const [value] = values;
  if (values.size > 1) return { why: `its constants disagree: ${[...values].join(", ")}` };
  return value === undefined ? (answers[0] ?? { why: "no constant names it" }) : { value };
}

/**
 * nf_conn.tuplehash, an array of two. Only both tuples together tell how long an element is, struct
 * nf_conntrack_tuple_hash; the tuple is the last member of it, behind hnnode.
 */
function tupleHashes(origin: KnownOffset, reply: KnownOffset): Placed | { readonly why: string } {
  if ("why" in origin || "why" in reply)
    return { why: "not placed: an element of tuplehash is as long as both tuples are apart" };
  const size = reply.value - origin.value;
  const inside = size - tuple.size;
  if (inside < 0 || inside > origin.value)
    return { why: `not placed: an element of ${size} bytes cannot be` };
  const element = struct("nf_conntrack_tuple_hash", size, at(inside, "tuple", tuple));
  return { steps: ["tuplehash"], offset: origin.value - inside, type: array(element, 2) };
}

/** A struct from `start` of its members, those of one first step together in an anonymous struct. */
function compose(name: string, placed: readonly Placed[], start: number): Composite {
  // Those without a name are each its own.
  const groups = Map.groupBy(placed, (one) => one.steps[0] || one);
  const members = [...groups].map(([key, group]): CMember => {
    const step = typeof key === "string" ? key : "";
    const offset = Math.min(...group.map((each) => each.offset));
    const leaf = group.find(({ steps }) => steps.length === 1);
    const inner = group.map((each) => ({ ...each, steps: each.steps.slice(1) }));
    const member = at(offset - start, step, leaf?.type ?? compose("", inner, offset));
    return leaf?.bits === undefined ? member : { ...member, bits: leaf.bits };
  });
  members.sort((a, b) => a.offset - b.offset || (a.bits?.first ?? 0) - (b.bits?.first ?? 0));
  const end = Math.max(...members.map(({ offset, type }) => offset + sizeOf(type)));
  const align = name === "" ? 1 : 8; // each of them holds a pointer or a long
  return struct(name, Math.ceil(end / align) * align, ...members);
}
