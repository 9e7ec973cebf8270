import { executable, Scratch } from "../e2e/executable.ts";
import { TestNetwork } from "../networks.ts";
import { row, sideBySide, table } from "./figures.ts";

const FEW = 2000;
const MANY = 100_000;
const ROUNDS = 5;

/** Gateway lookups of different destinations in a namespace of the benchmark's own, against iproute2's. */
export function gatewaySection(): string {
  using host = new TestNetwork();
  using router = new TestNetwork();
  using scratch = new Scratch();
  host.connect("eth0", router, "to0");
  host.ip("addr add 10.1.0.2/24 dev eth0", "route add default via 10.1.0.1");
  const write = (lines: number) => {
    const destinations = Array.from(
      { length: lines },
      (_, at) => `20.${at >> 16}.${(at >> 8) & 255}.${at & 255}`,
    );
    const [plain, script] = [scratch.at(`${lines}`), scratch.at(`${lines}.ip`)];
    Bun.spawnSync(["tee", plain], {
      stdin: Buffer.from(destinations.map((to) => `10.1.0.2 ${to}\n`).join("")),
    });
    Bun.spawnSync(["tee", script], {
      stdin: Buffer.from(destinations.map((to) => `route get ${to} from 10.1.0.2\n`).join("")),
    });
    return { plain, script };
  };
  const [few, many] = [write(FEW), write(MANY)];
  const shell = (command: string): string[] => host.command("sh", "-c", command);
  const once = (plain: string) => shell(`while read -r s d; do ip route get "$d" from "$s"; done < ${plain}`);
  const batch = (script: string) => shell(`exec ip -batch ${script}`);
  const ours = (plain: string) => shell(`exec ${executable} gateway --batch < ${plain}`);
  const measured = [
    {
      lines: FEW,
      names: ["offsetof gateway --batch", "ip -batch", "ip route get, once a line"],
      figures: sideBySide([ours(few.plain), batch(few.script), once(few.plain)], ROUNDS),
    },
    {
      lines: MANY,
      names: ["offsetof gateway --batch", "ip -batch"],
      figures: sideBySide([ours(many.plain), batch(many.script)], ROUNDS),
    },
  ];
  const rows = measured.flatMap(({ lines, names, figures }) =>
    figures.map(({ wall, cpu }, at) => {
      const [mine] = figures;
      const ratio = `${(wall / (mine?.wall ?? Number.NaN)).toFixed(1)}×`;
      return row(`\`${names[at]}\``, String(lines), wall, cpu, (1000 * wall) / lines, ratio);
    }),
  );
  const head = ["command", "lines", "wall ms", "cpu ms", "wall µs a line", "wall ÷ `offsetof`"];
  return `## Gateway lookups: offsetof and ip(8)

Lines of a source and a destination, each destination another one, so that the route cache never helps; ${ROUNDS} runs of
each command in turn. offsetof also asks how many next hops the route has, and tells interface and subnet in JSON; ip
tells the route alone. \`ip route get\` is started once a line, as a shell script would.

${table(head, rows)}
`;
}
