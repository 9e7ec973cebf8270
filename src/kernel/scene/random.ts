/** A whole number chosen by chance: `least` at least, and less than `below`. */
export const random = (least: number, below: number): number =>
  least + Math.floor(Math.random() * (below - least));
