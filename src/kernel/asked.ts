import { type Btf, kinds } from "../btf/btf.ts";
import { type MemberPath, parsePath, placeOf, typesOf } from "../btf/member.ts";
import type { WantedTypes } from "../dwarf/dwarf.ts";
import type { Evidence } from "../offsets/evidence.ts";
import { judge, type Verdict } from "../offsets/truth.ts";
import { bitConstants } from "../output/selection.ts";
import { didYouMean } from "../output/suggest.ts";
import { type KernelField, kernelFields } from "./fields/fields.ts";
import type { Types } from "./fields/type-information.ts";
import { wideMembers } from "./members/all.ts";

/** Something of the kernel's types that a person named: a member, a type's size, or an enum's value. */
export interface Asked {
  /** As it was named. */
  readonly text: string;
  /** An identifier of it, under which it stands in every format. */
  readonly constant: string;
  /** Whether of a bit-field only the byte that it begins in is wanted. */
  readonly isByte?: true;
  /** Whether this program asks for it and no person typed it, so that no similar name is suggested where there is none. */
  readonly isOurs?: true;
}

const size = /^sizeof:((?:struct |union )?[A-Za-z_]\w*)$/;
const enumerator = /^enum:([A-Za-z_]\w*)$/;

/** What a text such as `tcp_sock.srtt_us`, `sizeof:sock` or `enum:bpf_func_id.X` asks for; null where it is of no such form. */
export function askedOf(text: string): Asked | null {
  const isNamed = parsePath(text) !== null || size.test(text) || enumerator.test(text);
  return isNamed ? { text, constant: identifierOf(text) } : null;
}

const identifierOf = (text: string): string => text.replace(/\]/g, "").replace(/\W/g, "_");

/** Every member that a crawl can say anything of, as if a person had asked for each. */
export const allWide = (): Asked[] =>
  wideMembers.map(({ member }) => ({ text: member, constant: identifierOf(member), isOurs: true }));

/** The fields by their members; of fields that have the same member, the first. */
const rows = new Map<string, KernelField>(kernelFields.toReversed().map((field) => [field.member, field]));

/** The row of ours that measures a member, if there is one. */
const rowOf = ({ text }: Asked) => rows.get(text);

/** Whether a guess can say anything of one of these. */
export const isMeasured = (asked: readonly Asked[]): boolean => asked.some((one) => rowOf(one) !== undefined);

/** The names of types, members and enumerators by which these are found. */
export function namesOf(asked: readonly Pick<Asked, "text">[]): WantedTypes {
  const names = { types: new Set<string>(), members: new Set<string>(), enumerators: new Set<string>() };
  for (const { text } of asked) {
    const path = parsePath(text);
    const [, type = path?.type] = size.exec(text) ?? [];
    if (type !== undefined) names.types.add(type.replace(/^.* /, ""));
    for (const step of path?.steps ?? []) names.members.add(step.name);
    const [, value] = enumerator.exec(text) ?? [];
    if (value !== undefined) names.enumerators.add(value);
  }
  return names;
}

/** What is known of what was asked for. @param evidence of the fields and of a crawl, of which the guess's is taken */
export function askedVerdicts(
  asked: readonly Asked[],
  types: Types | string,
  evidence: readonly Evidence[],
): [constant: string, Verdict][] {
  const guesses = Map.groupBy(
    evidence.filter(({ source }) => source === "guess"),
    ({ constant }) => constant,
  );
  const all = asked.map((one) => {
    const told = typeof types === "string" ? types : toldBy(one, types);
    const measured = one.isByte === true ? undefined : measuredBits.get(one.text);
    const names = measured === undefined ? [] : bitConstants(one.constant);
    const rows = Object.entries(
      typeof told === "string"
        ? Object.fromEntries([one.constant, ...names].map((constant) => [constant, told]))
        : rowsOf(one, told),
    );
    const guessed = guesses.get(rowOf(one)?.constant ?? one.text) ?? [];
    return {
      fields: rows.map(([constant]) => ({ constant, member: one.text })),
      evidence: [
        ...guessed.map((each): Evidence => ({ ...each, constant: one.constant })),
        ...names.flatMap((constant, index) =>
          guessed.map((each): Evidence => ({ ...each, ...bitEvidence(each, constant, measured, index) })),
        ),
        ...rows.map(([constant, row]): Evidence => {
          const source = typeof types === "string" ? "btf" : types.source;
          const said = { source, constant } as const;
          return typeof row === "string"
            ? { ...said, candidates: [], reason: row }
            : { ...said, candidates: [row] };
        }),
      ],
    };
  });
  return [
    ...judge(
      all.flatMap((one) => one.fields),
      all.flatMap((one) => one.evidence),
    ),
  ];
}

/** The bit-fields that are measured, with the bits of their byte that each has. */
const measuredBits = new Map(
  wideMembers.flatMap(({ member, bits }) => (bits === undefined ? [] : [[member, bits] as const])),
);

/** Which bits a bit-field has is known where its byte is. @param index of {@link bitConstants} */
function bitEvidence(
  { candidates, reason = "its byte is not known" }: Evidence,
  constant: string,
  bits: { readonly first: number; readonly count: number } | undefined,
  index: number,
): Pick<Evidence, "constant" | "candidates" | "reason"> {
  return candidates.length === 1 && bits !== undefined
    ? { constant, candidates: [index === 0 ? bits.first : bits.count] }
    : { constant, candidates: [], reason };
}

/** A number, and the bits of a bit-field. */
interface Told {
  readonly value: number;
  readonly bits?: { readonly offset: number; readonly size: number };
}

function rowsOf({ constant, isByte }: Asked, { value, bits }: Told): Record<string, number> {
  const [offset, size] = bitConstants(constant);
  return { [constant]: value, ...(bits && !isByte && { [offset]: bits.offset, [size]: bits.size }) };
}

/** What the kernel's types say of something that was asked for; a text where they say nothing: why. */
function toldBy({ text, isOurs }: Asked, types: Types): Told | string {
  const own = toldIn(text, types.kernel);
  if (typeof own !== "string") return own;
  const others = types.modules.map((btf) => toldIn(text, btf)).filter((told) => typeof told !== "string");
  const [first] = others;
  if (first === undefined) return isOurs === true ? own : `${own}${nearName(text, types)}`;
  const isOne = others.every((told) => JSON.stringify(told) === JSON.stringify(first));
  return isOne ? first : "modules have it at different places";
}

function toldIn(text: string, btf: Btf): Told | string {
  const path = parsePath(text);
  if (path !== null) return memberIn(path, btf);
  const [, type] = size.exec(text) ?? [];
  return type === undefined ? enumeratorIn(enumerator.exec(text)?.[1] ?? "", btf) : sizeIn(type, btf);
}

function memberIn(path: MemberPath, btf: Btf): Told | string {
  const place = placeOf(btf, path);
  if (typeof place === "string") return place;
  const { bitOffset, bitSize } = place;
  const value = Math.floor(bitOffset / 8);
  return bitSize === null ? { value } : { value, bits: { offset: bitOffset % 8, size: bitSize } };
}

const sizedKinds = [kinds.struct, kinds.union, kinds.typedef, kinds.enum, kinds.enum64, kinds.int];

function sizeIn(name: string, btf: Btf): Told | string {
  const [keyword, type] = name.includes(" ") ? name.split(" ") : [undefined, name];
  const path = { keyword, type: type ?? "", steps: [] };
  const named = typesOf(btf, path);
  const all = named.length > 0 || keyword !== undefined ? named : btf.named(path.type, sizedKinds);
  return theOne(
    all.map((each) => btf.sizeOf(each)),
    `no type ${name}`,
    `types called ${name} have different sizes`,
  );
}

function enumeratorIn(name: string, btf: Btf): Told | string {
  const values = btf.enumerated(name);
  const [first] = values;
  if (first !== undefined && values.every((value) => value === first) && (first < 0n || first > maximum))
    return `it is ${first}, which this document does not hold`;
  return theOne(values.map(Number), `no enum has ${name}`, `enums have different values called ${name}`);
}
const maximum = BigInt(Number.MAX_SAFE_INTEGER);

function theOne(values: readonly (number | null)[], none: string, several: string): Told | string {
  const [value = null] = values;
  if (value === null) return none;
  return values.every((each) => each === value) ? { value } : several;
}

/** A name that there is, close to one that there is not. With DWARF there is none: only the names that were asked for are read. */
function nearName(text: string, { kernel, modules, source }: Types): string {
  const path = parsePath(text);
  if (path === null || source === "dwarf") return "";
  const btf = [kernel, ...modules].find((each) => typesOf(each, path).length > 0);
  if (btf === undefined) return didYouMean(path.type, kernel.names([kinds.struct, kinds.union]));
  const [step] = path.steps;
  const [type] = typesOf(btf, path);
  return step === undefined || type === undefined ? "" : didYouMean(step.name, memberNames(btf, type, 0));
}

/** Names of members, those of anonymous structs and unions too. */
function memberNames(btf: Btf, type: number, depth: number): string[] {
  return (btf.members(type) ?? []).flatMap((member) =>
    member.name !== "" ? [member.name] : depth < 8 ? memberNames(btf, member.type, depth + 1) : [],
  );
}
