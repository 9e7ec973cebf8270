import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { memoryFile } from "../../ffi/descriptors.ts";
import { imageDocument } from "../../src/image/image.ts";
import { kernelIn } from "../../src/image/kernel-file.ts";
import { InputFile } from "../../src/input/input.ts";
import { askedOf } from "../../src/kernel/asked.ts";
import * as images from "../images.ts";
import { type Input, inputName, type Opened, same, sampleOf, type Target } from "./target.ts";

const families = { tcpv4: true, tcpv6: true, udpv4: true, udpv6: true };
/** Those whose streams have a sum that no flag turns off. */
const summed: readonly images.Packing[] = ["gz", "xz", "bz2"];

/** Each form of one small kernel, and whether what comes out of it must be that kernel's. */
function formsOf(folder: string): readonly (readonly [path: string, isSummed: boolean])[] {
  const kernel = images.smallKernel(folder, 2000);
  const at = (name: string): string => join(folder, name);
  const packings = Object.keys(images.packers) as images.Packing[];
  const vmlinuz = packings.map((each) => images.bzImage(at(`vmlinuz-${each}`), kernel, each));
  const [gz = ""] = vmlinuz;
  const image = images.arm64Image(at("Image"), kernel, "0123456789abcdef0123456789abcdef01234567");
  images.tool("tar", "-cf", at("btf.tar"), "-C", folder, "vmlinux.btf");
  return [
    ...[kernel.vmlinux, kernel.btf, image, at("btf.tar")].map((path) => [path, false] as const),
    ...vmlinuz.map((path, index) => [path, summed.includes(packings[index] ?? "lz4")] as const),
    [images.zboot(at("zboot"), image, "gz"), true],
    [images.debianPackage(at("none.deb"), kernel.vmlinux, "boot/vmlinux-6.1", "none"), false],
    [images.debianPackage(at("xz.deb"), gz, "boot/vmlinuz-6.1", "xz"), true],
    [images.rpmPackage(at("gz.rpm"), gz, kernel, "w6.gzdio"), true],
  ];
}

export const image: Target = {
  name: "image",
  what: "kernels' images and packages, and what they are packed in",
  share: 15,
  open: async (folder): Promise<Opened> => {
    const made = join(folder, "forms");
    mkdirSync(made);
    const forms = formsOf(made);
    const samples = forms.map(([path]) => sampleOf(path));
    const read = (bytes: Buffer) => {
      using memory = memoryFile("input", bytes);
      using file = InputFile.of(memory.fd, inputName);
      return kernelIn(file);
    };
    const btfs = samples.map(({ bytes }) => read(bytes).btf?.bytes);
    const asked = images.askedMembers.split(",").flatMap((text) => askedOf(text) ?? []);
    return {
      samples: samples.map((sample) => ({ ...sample, hot: [[0, Math.min(2048, sample.bytes.length)]] })),
      read: ({ bytes, sample }: Input) => {
        const kernel = read(bytes);
        const isSame = forms[sample]?.[1] === true && kernel.btf?.path.endsWith("(unpacked)") === true;
        if (isSame) same("the BTF", kernel.btf?.bytes.toHex(), btfs[sample]?.toHex());
        imageDocument(kernel, { sources: ["btf", "dwarf"], families, asked, isOnlyAsked: false });
        return true;
      },
    };
  },
};
