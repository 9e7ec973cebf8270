import { expect, test } from "bun:test";
import { parseQuestion, targetOf } from "../../../src/gateway/question.ts";
import { formatIp } from "../../../src/net/ip-text.ts";
import { Failure } from "../../../src/output/failure.ts";

const asked = (source: string, destination: string, translated?: string) => {
  const question = parseQuestion({ source, destination, translated });
  return {
    source: question.source && formatIp(question.source),
    target: formatIp(targetOf(question)),
    through: question.through,
  };
};

test.each([
  ["10.0.0.1", "10.0.0.2", { source: "10.0.0.1", target: "10.0.0.2", through: undefined }],
  ["::ffff:10.0.0.1", "10.0.0.2", { source: "10.0.0.1", target: "10.0.0.2", through: undefined }],
  ["0.0.0.0", "10.0.0.2", { source: undefined, target: "10.0.0.2", through: undefined }],
  ["::", "10.0.0.2", { source: undefined, target: "10.0.0.2", through: undefined }],
  ["fe80::1%eth0", "2001:db8::1", { source: "fe80::1", target: "2001:db8::1", through: "eth0" }],
  ["::", "fe80::1%7", { source: undefined, target: "fe80::1", through: 7 }],
  ["fe80::2%eth0", "fe80::1%eth0", { source: "fe80::2", target: "fe80::1", through: "eth0" }],
  ["fe80::2%eth0", "ff02::1", { source: "fe80::2", target: "ff02::1", through: "eth0" }],
  ["::1", "ff05::1", { source: "::1", target: "ff05::1", through: undefined }],
])("%s to %s is read as the addresses and the link that it means", (source, destination, expected) => {
  expect(asked(source, destination)).toEqual(expected);
});

test("the translated address is the one that is looked up, of whichever family", () => {
  expect(asked("10.0.0.1", "10.96.0.1", "10.244.0.7").target).toBe("10.244.0.7");
  expect(asked("2001:db8::1", "10.96.0.1", "2001:db8::2").target).toBe("2001:db8::2");
});

test.each([
  ["10.0.0.1", "nonsense", '"nonsense" is no IP address'],
  ["", "10.0.0.1", '"" is no IP address'],
  ["10.0.0.1", "::1", "10.0.0.1 and ::1 are addresses of two families"],
  ["10.0.0.1", "0.0.0.0", "0.0.0.0 is no host's address"],
  ["::1", "::", ":: is no host's address"],
  ["224.0.0.1", "10.0.0.1", "224.0.0.1 cannot be a source"],
  ["ff02::1%lo", "::1", "ff02::1 cannot be a source"],
  ["255.255.255.255", "10.0.0.1", "255.255.255.255 cannot be a source"],
  ["0.1.2.3", "10.0.0.1", "0.1.2.3 cannot be a source"],
  ["::", "fe80::1", "write fe80::1%INTERFACE"],
  ["::", "ff02::1", "write ff02::1%INTERFACE"],
  ["fe80::2%eth0", "fe80::1%eth1", "are on two links"],
  ["10.0.0.1%eth0", "10.0.0.2", "only link-local IPv6 addresses have a scope"],
  ["::", "2001:db8::1%eth0", "only link-local IPv6 addresses have a scope"],
  ["::", "fe80::1%", "the scope is no interface's name or index"],
  ["::", "fe80::1%a/b", "the scope is no interface's name or index"],
  ["::", "fe80::1%sixteen-letters-", "the scope is no interface's name or index"],
  ["::", "fe80::1%4294967297", "the scope is no interface's name or index"],
  ["::", "fe80::1%eth0%eth0", "is no IP address"],
  ["::", `${"1".repeat(5000)}`, "1…"],
])("%p to %p is refused", (source, destination, message) => {
  const refusal = () => parseQuestion({ source, destination });
  expect(refusal).toThrow(Failure);
  expect(refusal).toThrow(message);
});
