import { AF_INET, AF_INET6 } from "../../ffi/socket-calls.ts";
import { type IpAddress, sharePrefix } from "../net/address.ts";
import { formatIp, parseIp } from "../net/ip-text.ts";
import { Failure } from "../output/failure.ts";

/** An address with its text, without a scope. */
export interface WrittenAddress extends IpAddress {
  readonly text: string;
}

/** What a lookup is asked. */
export interface GatewayQuestion {
  /** The source address; undefined: the kernel chooses. */
  readonly source: WrittenAddress | undefined;
  readonly destination: WrittenAddress;
  /** What NAT makes of the destination; the route to this one is asked for. */
  readonly translated: WrittenAddress | undefined;
  /** Index or name of the interface that a scope names. */
  readonly through: number | string | undefined;
}

/** The texts that a lookup is asked with. */
export interface QuestionTexts {
  readonly source: string;
  readonly destination: string;
  readonly translated?: string | undefined;
}

/** IFNAMSIZ without the closing zero byte. */
const LONGEST_INTERFACE_NAME = 15;
const LARGEST_INDEX = 2 ** 31 - 1;

/**
 * Reads addresses, IPv4-mapped ones as the IPv4 addresses they stand for, with scopes such as fe80::1%eth0.
 * @throws Failure of wrong usage that says which address cannot be asked about, and why
 */
export function parseQuestion(texts: QuestionTexts): GatewayQuestion {
  const source = parseSource(texts.source);
  const destination = parseScoped(texts.destination);
  const translated = texts.translated === undefined ? undefined : parseScoped(texts.translated);
  const target = translated ?? destination;
  const unspecified = isUnspecified(destination) ? destination : isUnspecified(target) ? target : null;
  if (unspecified !== null) throw usage(`${unspecified.text} is no host's address: there is no route to it`);
  if (isMulticast(source)) throw usage(`${source.text} cannot be a source: it is no one host's address`);
  // Of IPv4's 0.0.0.0/8 only 0.0.0.0 is a source: the kernel refuses the others and 255.255.255.255 (ip_route_output_key_hash_rcu).
  const isChosen = !isUnspecified(source);
  const [first = 0] = source.address;
  if (source.family === AF_INET && isChosen && (first === 0 || first === 255))
    throw usage(`${source.text} cannot be a source: it is no one host's address`);
  if (source.family !== target.family && isChosen)
    throw usage(`${source.text} and ${target.text} are addresses of two families`);
  const through = source.scope ?? target.scope;
  if ((target.scope ?? through) !== through)
    throw usage(`${source.text} and ${target.text} are on two links`);
  if (isLinkLocal(target) && through === undefined)
    throw usage(`${target.text} means another host on each link: write ${target.text}%INTERFACE`);
  return {
    source: isChosen ? source : undefined,
    destination,
    translated,
    through: through !== undefined && /^\d+$/.test(through) ? Number(through) : through,
  };
}

/** The address whose route is asked for. */
export const targetOf = ({ destination, translated }: GatewayQuestion): WrittenAddress =>
  translated ?? destination;

interface ScopedAddress extends WrittenAddress {
  readonly scope: string | undefined;
}

/** @throws Failure where the text is no address, or has a scope that means nothing */
function parseScoped(text: string): ScopedAddress {
  const end = text.indexOf("%");
  const [plain, scope] = end < 0 ? [text] : [text.slice(0, end), text.slice(end + 1)];
  const ip = parseIp(plain);
  if (ip === null || scope?.includes("%")) throw usage(`${shown(text)} is no IP address`);
  if (scope !== undefined) {
    if (!isLinkLocal(ip)) throw usage(`${shown(text)}: only link-local IPv6 addresses have a scope`);
    // dev_valid_name of net/core/dev.c; a number is an index.
    const isName = /^[^\s/:\p{C}]+$/u.test(scope) && Buffer.byteLength(scope) <= LONGEST_INTERFACE_NAME;
    if (!isName || (/^\d+$/.test(scope) && Number(scope) > LARGEST_INDEX))
      throw usage(`${shown(text)}: the scope is no interface's name or index`);
  }
  const { family, address } = ip;
  // Dotted decimal has one form alone.
  const isWritten = family === AF_INET && !plain.includes(":");
  return { family, address, text: isWritten ? plain : formatIp(ip), scope };
}

function isUnspecified({ address }: IpAddress): boolean {
  for (let at = 0; at < address.length; at++) if (address[at] !== 0) return false;
  return true;
}

/** Lines of a batch often have one source: the last is remembered. */
const parseSource = rememberingLast(parseScoped);

function rememberingLast<Result>(parse: (text: string) => Result): (text: string) => Result {
  let last: { readonly text: string; readonly result: Result } | undefined;
  return (text) => {
    if (last?.text !== text) last = { text, result: parse(text) };
    return last.result;
  };
}

const isMulticast = ({ family, address }: IpAddress): boolean =>
  family === AF_INET ? ((address[0] ?? 0) & 0xf0) === 0xe0 : address[0] === 0xff;

/** The networks whose addresses mean another host on each link: unicast, and multicast of link and interface scope. */
const linkLocals = [
  ["fe80::", 10],
  ["ff01::", 16],
  ["ff02::", 16],
].map(([text, prefix]) => ({ network: parseIp(String(text)), prefix: Number(prefix) }));

/** Whether an address is one of IPv6 that needs a link to mean a host. */
export const isLinkLocal = (ip: IpAddress): boolean =>
  ip.family === AF_INET6 &&
  linkLocals.some(({ network, prefix }) => network !== null && sharePrefix(ip, network, prefix));

/** A text from outside, short enough for a message. */
const shown = (text: string): string => JSON.stringify(text.length > 64 ? `${text.slice(0, 64)}…` : text);

const usage = (message: string): Failure => new Failure("E_ADDRESS", message, "usage");
