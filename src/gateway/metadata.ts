import * as v from "valibot";
import { parseIp } from "../net/ip-text.ts";
import { codeOf } from "../self/thrown.ts";
import type { Prefix } from "./subnet.ts";

/** Where the service answers on an AWS instance. */
export const standardService = "http://169.254.169.254";
const TIMEOUT_MS = 2000;
/** Answers are a few lines; more than this many bytes are not read. */
const LARGEST_ANSWER = 4096;
/** The longest that the service grants, and how long before its end a token is not used any more. */
const TOKEN_SECONDS = 21_600;
const TOKEN_MARGIN_MS = 60_000;

/** Variables by which the runtime's fetch takes a proxy. The service is on the link, and its token must not leave that. */
const proxyVariables = ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];

const tokenSchema = v.pipe(v.string(), v.regex(/^[\x21-\x7e]{1,1024}$/));
const subnetIdSchema = v.pipe(v.string(), v.regex(/^subnet-[0-9a-z]{1,64}$/));
const cidrSchema = v.pipe(
  v.string(),
  v.transform((text) => {
    const [, ip = "", length = ""] = /^([\d.a-f:]+)\/(\d{1,3})$/.exec(text) ?? [];
    return { network: parseIp(ip), length: Number(length) };
  }),
  v.check(({ network, length }) => network !== null && length <= 8 * network.address.length),
);

/** The service does not tell; the message says why, for the answer's `reasons`. */
export class MetadataError extends Error {
  override readonly name = "MetadataError";
}

/**
 * The EC2 instance metadata service, version 2: a token first, then questions with it
 * (docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-categories.html).
 */
export class MetadataService {
  #token: { readonly value: string; readonly until: number } | undefined;

  /**
   * @param base http or https URL of the service, with a slash at the end
   * @param milliseconds how long all requests about one interface may take
   */
  constructor(
    private readonly base: URL,
    private readonly milliseconds = TIMEOUT_MS,
  ) {
    for (const name of proxyVariables) delete process.env[name];
  }

  /**
   * The subnets that a network interface is in, by its hardware address.
   * @throws MetadataError where the service knows none, answers nonsense, redirects, refuses or does not answer in time
   */
  async subnets(hardwareAddress: string): Promise<Prefix[]> {
    const signal = AbortSignal.timeout(this.milliseconds);
    const about = `latest/meta-data/network/interfaces/macs/${hardwareAddress}`;
    const alias = this.#parse(subnetIdSchema, await this.#get(`${about}/subnet-id`, signal));
    if (alias === undefined) throw this.#error(`knows no subnet of an interface ${hardwareAddress}`);
    const v4 = await this.#get(`${about}/subnet-ipv4-cidr-block`, signal);
    const v6 = await this.#get(`${about}/subnet-ipv6-cidr-blocks`, signal);
    const cidrs = [v4, ...(v6?.split("\n") ?? [])].map((text) => this.#parse(cidrSchema, text));
    return cidrs.flatMap((cidr) =>
      cidr?.network ? [{ network: cidr.network, length: cidr.length, alias }] : [],
    );
  }

  /** What the service has at a path; undefined where it has nothing. A token that it refuses is replaced once. */
  async #get(path: string, signal: AbortSignal): Promise<string | undefined> {
    for (const isLast of [false, true]) {
      const headers = { "X-aws-ec2-metadata-token": await this.#currentToken(signal) };
      const { status, text } = await this.#fetch(path, { headers, signal });
      if (status === 404) return undefined;
      if (status === 200) return text;
      if (status !== 401 || isLast) throw this.#error(`answered ${status} for /${path}`);
      this.#token = undefined;
    }
    return undefined;
  }

  async #currentToken(signal: AbortSignal): Promise<string> {
    if (this.#token !== undefined && this.#token.until > performance.now()) return this.#token.value;
    const headers = { "X-aws-ec2-metadata-token-ttl-seconds": String(TOKEN_SECONDS) };
    const { status, text } = await this.#fetch("latest/api/token", { method: "PUT", headers, signal });
    if (status !== 200) throw this.#error(`answered ${status} for a token`);
    const value = this.#parse(tokenSchema, text) ?? "";
    this.#token = { value, until: performance.now() + TOKEN_SECONDS * 1000 - TOKEN_MARGIN_MS };
    return value;
  }

  async #fetch(path: string, init: RequestInit): Promise<{ status: number; text: string }> {
    try {
      const answer = await fetch(new URL(path, this.base), { ...init, redirect: "manual", keepalive: false });
      return { status: answer.status, text: await boundedText(answer) };
    } catch (error) {
      if (error instanceof MetadataError) throw this.#error(error.message);
      if (error instanceof Error && error.name === "TimeoutError")
        throw this.#error(`did not answer within ${this.milliseconds} ms`);
      throw this.#error(`cannot be asked: ${codeOf(error) ?? String(error)}`);
    }
  }

  /** A text of the service as its schema has it; undefined where there is none. @throws MetadataError where it is of another kind */
  #parse<Schema extends v.GenericSchema<string, unknown>>(
    schema: Schema,
    text: string | undefined,
  ): v.InferOutput<Schema> | undefined {
    const trimmed = text?.trim();
    if (trimmed === undefined || trimmed === "") return undefined;
    const result = v.safeParse(schema, trimmed);
    if (result.success) return result.output;
    throw this.#error(`answered what it cannot mean: ${JSON.stringify(trimmed.slice(0, 64))}`);
  }

  readonly #error = (what: string): MetadataError =>
    new MetadataError(`the metadata service at ${this.base.host} ${what}`);
}

/** @throws MetadataError where there is more than an answer can need */
async function boundedText({ body }: Response): Promise<string> {
  const parts: Uint8Array[] = [];
  let length = 0;
  for await (const part of body ?? []) {
    parts.push(part);
    length += part.length;
    if (length > LARGEST_ANSWER) throw new MetadataError(`answered more than ${LARGEST_ANSWER} bytes`);
  }
  return Buffer.concat(parts).toString();
}
