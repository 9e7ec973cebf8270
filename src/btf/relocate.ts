import { InputError } from "../input/input.ts";
import { type Btf, kinds, type Member } from "./btf.ts";
import type { Relocation } from "./core.ts";
import type { CoreQuestion } from "./core-question.ts";

/**
 * How a loader finds in a kernel's BTF what a program was compiled against: the rules of libbpf's relo_core.c. Types go by
 * their names without `___flavour`, members by theirs, wherever they lie; anonymous structs are looked through.
 */

/** One step of a way into a type. */
export interface AccessStep {
  /** The struct or union that has the member, or the array's element type. */
  readonly type: number;
  /** The member's name; null for an element of an array. */
  readonly name: string | null;
  readonly index: number;
  /** The type that it leads to. */
  readonly to: number;
}

/** What a relocation means, in the types of the object. */
export interface WantedAccess {
  readonly root: number;
  /** The steps behind the first index, which is an element's in an array of the root type. */
  readonly steps: readonly AccessStep[];
  /** The first index. */
  readonly first: number;
  /** An enumerator. */
  readonly enumerator?: string;
  /** As C would say it, such as `task_struct___x.__state`. */
  readonly text: string;
}

/** Where it is in the kernel's BTF. */
export interface FoundAccess {
  readonly root: number;
  /** Types on the way: which member of which struct each step takes, anonymous ones too. */
  readonly members: readonly { readonly struct: number; readonly member: Member }[];
  /** Types of elements on the way. */
  readonly elements: readonly number[];
  readonly bitOffset: number;
  /** The type that it leads to. */
  readonly type: number;
  readonly value?: bigint;
}

/** What libbpf allows (BPF_CORE_SPEC_MAX_LEN), and as deep as it follows types that are compared. */
const MOST_STEPS = 64;
const DEEPEST = 32;
/** How many anonymous structs within one are looked through; no real one has as many. */
const MOST_STRUCTS = 1024;
/** Characters of a way into a type; no real one comes near. */
const LONGEST = 4096;

/** A name without its flavour, which begins behind the last three underscores. */
export const essential = (name: string): string => name.replace(/^(.*[^_])___[^_].*$/s, "$1");

/** @throws InputError where the relocation does not fit the object's own types */
export function wantedOf(btf: Btf, { type: root, access, question }: Relocation, path: string): WantedAccess {
  const name = btf.name(root).slice(0, LONGEST) || "(anonymous)";
  const bad = () =>
    new InputError(path, 0, `a CO-RE relocation of ${name} by "${access}", which does not fit`);
  if (!/^\d{1,9}(:\d{1,9})*$/.test(access)) throw bad();
  const [first = 0, ...indexes] = access.split(":").map(Number);
  if (indexes.length >= MOST_STEPS) throw bad();
  if (question.includes("type")) return { root, steps: [], first: 0, text: name };
  if (question.startsWith("value")) {
    const enumerator = btf.enumeratorAt(btf.resolve(root), first)?.name;
    if (enumerator === undefined) throw bad();
    return { root, steps: [], first: 0, enumerator, text: `${name}::${enumerator}` };
  }
  const steps: AccessStep[] = [];
  let [type, text] = [btf.resolve(root), first === 0 ? name : `${name}[${first}]`];
  for (const index of indexes) {
    if (text.length > LONGEST) throw bad();
    const member = btf.memberAt(type, index);
    if (member !== null) {
      if (member.name !== "") {
        steps.push({ type, name: member.name, index, to: member.type });
        text += `.${member.name}`;
      }
      type = btf.resolve(member.type);
      continue;
    }
    const array = btf.array(type);
    if (array === null) throw bad();
    steps.push({ type: array.element, name: null, index, to: array.element });
    text += `[${index}]`;
    type = btf.resolve(array.element);
  }
  return { root, steps, first, text };
}

/** A kernel's types, as a loader looks into them. */
export class Kernel {
  readonly btf: Btf;
  /** The BTF of the object. */
  readonly #local: Btf;

  constructor(btf: Btf, local: Btf) {
    this.btf = btf;
    this.#local = local;
  }

  /** @returns why it is not there, in words, where it is not */
  find({ question }: Relocation, wanted: WantedAccess): FoundAccess | string {
    const name = essential(this.#local.name(wanted.root));
    const kind = this.#local.kind(wanted.root);
    if (question === "local type id") return nowhere(wanted.root);
    const candidates = name === "" ? [] : this.btf.named(name, alike(kind));
    if (candidates.length === 0) return `no ${words[kind] ?? "type"} ${name}`;
    const found = candidates.map((root) => this.#in(root, wanted, question));
    const all = found.filter((one) => typeof one !== "string");
    const [one, ...others] = all;
    if (one === undefined) return found.find((why) => typeof why === "string") ?? "";
    // libbpf refuses the whole object where types of one name differ.
    const isOne = others.every((each) => each.bitOffset === one.bitOffset && each.value === one.value);
    return isOne ? one : `${candidates.length} types are called ${name}, and have it at different places`;
  }

  #in(root: number, wanted: WantedAccess, question: CoreQuestion): FoundAccess | string {
    const { btf } = this;
    if (wanted.enumerator !== undefined) {
      const name = essential(wanted.enumerator);
      const one = btf.enumerators(root).find((each) => essential(each.name) === name);
      return one === undefined ? `${btf.name(root)} has no ${name}` : { ...nowhere(root), value: one.value };
    }
    if (question.includes("type"))
      return this.#areAlike(wanted.root, root, 0) ? nowhere(root) : `${btf.name(root)} is of another kind`;
    return this.#walk(root, wanted);
  }

  #walk(root: number, { steps, first }: WantedAccess): FoundAccess | string {
    const { btf } = this;
    const members: { struct: number; member: Member }[] = [];
    const elements: number[] = [];
    let [type, bits, way] = [root, first * (btf.sizeOf(root) ?? 0) * 8, btf.name(root)];
    for (const step of steps) {
      if (step.name === null) {
        const array = btf.array(type);
        // An array without a length is the last member, and ends where the memory does.
        if (array === null || (array.count > 0 && step.index >= array.count))
          return `${way} has no element ${step.index}`;
        bits += step.index * (btf.sizeOf(array.element) ?? 0) * 8;
        type = array.element;
        elements.push(type);
        way += `[${step.index}]`;
        continue;
      }
      const path = this.#member(type, step, new Set());
      if (path === null) return `${way} has no member ${step.name}`;
      const last = path.at(-1);
      if (last === undefined) return `${way}.${step.name} is of another kind`;
      members.push(...path);
      bits += path.reduce((sum, { member }) => sum + member.bitOffset, 0);
      type = last.member.type;
      way += `.${step.name}`;
    }
    return { root, members, elements, bitOffset: bits, type };
  }

  /**
   * Members on the way to one, which may lie in anonymous structs. Null: there is none; none: it is of another kind.
   * @param looked types that do not have it: of those that hold each other many times there would be no end
   */
  #member(type: number, step: AccessStep, looked: Set<number>): { struct: number; member: Member }[] | null {
    const struct = this.btf.resolve(type);
    if (looked.has(struct) || looked.size > MOST_STRUCTS) return null;
    looked.add(struct);
    let seen: [] | null = null;
    for (const member of this.btf.membersNamed(struct, step.name ?? "") ?? []) {
      if (member.name !== "") {
        if (this.#fit(step.to, member.type)) return [{ struct, member }];
        seen = [];
        continue;
      }
      const inner = this.#member(member.type, step, looked);
      if (inner !== null && inner.length > 0) return [{ struct, member }, ...inner];
      if (inner !== null) seen = [];
    }
    return seen;
  }

  /** bpf_core_fields_are_compat: whether a member may be read as another. */
  #fit(local: number, target: number): boolean {
    let [mine, theirs] = [this.#local.resolve(local), this.btf.resolve(target)];
    for (let depth = 0; depth < DEEPEST; depth++) {
      const kind = this.#local.kind(mine);
      if (isStruct(kind) && isStruct(this.btf.kind(theirs))) return true;
      if (!alike(kind).includes(this.btf.kind(theirs))) return false;
      if (kind === kinds.enum || kind === kinds.enum64 || kind === kinds.forward) {
        const [own, other] = [essential(this.#local.name(mine)), essential(this.btf.name(theirs))];
        return own === "" || other === "" || own === other;
      }
      const [array, their] = [this.#local.array(mine), this.btf.array(theirs)];
      if (array === null || their === null) return kind !== kinds.prototype && kind !== kinds.void;
      [mine, theirs] = [this.#local.resolve(array.element), this.btf.resolve(their.element)];
    }
    return false;
  }

  /** bpf_core_types_are_compat. */
  #areAlike(local: number, target: number, depth: number): boolean {
    if (depth > DEEPEST) return false;
    const [mine, theirs] = [this.#local.resolve(local), this.btf.resolve(target)];
    const kind = this.#local.kind(mine);
    if (!alike(kind).includes(this.btf.kind(theirs))) return false;
    if (kind === kinds.pointer)
      return this.#areAlike(this.#local.refersTo(mine), this.btf.refersTo(theirs), depth + 1);
    const [array, their] = [this.#local.array(mine), this.btf.array(theirs)];
    if (array !== null && their !== null) return this.#areAlike(array.element, their.element, depth + 1);
    if (kind !== kinds.prototype) return true;
    const [own, other] = [this.#local.parameters(mine), this.btf.parameters(theirs)];
    return (
      own.length === other.length &&
      own.every(({ type }, index) => this.#areAlike(type, other[index]?.type ?? 0, depth + 1)) &&
      this.#areAlike(this.#local.refersTo(mine), this.btf.refersTo(theirs), depth + 1)
    );
  }
}

const nowhere = (root: number): FoundAccess => ({
  root,
  members: [],
  elements: [],
  bitOffset: 0,
  type: root,
});

const isStruct = (kind: number): boolean => kind === kinds.struct || kind === kinds.union;
/** Kinds that a loader takes for one another. */
const alike = (kind: number): readonly number[] =>
  kind === kinds.enum || kind === kinds.enum64 ? [kinds.enum, kinds.enum64] : [kind];

/** What C calls the kinds of types. */
const words: Readonly<Record<number, string>> = {
  [kinds.struct]: "struct",
  [kinds.union]: "union",
  [kinds.enum]: "enum",
  [kinds.enum64]: "enum",
  [kinds.typedef]: "typedef",
};
