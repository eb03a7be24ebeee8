// Time as the waterfall draws it: to scale where something happens, and with a break where nothing does for so long that the
// rest could not be seen beside it. A saga that was parked for three days has run for two seconds of them.

/** A stretch without anything, drawn shorter than it is; in ms since 1970. */
export interface Break { from: number; to: number }

export interface Scale {
  breaks: Break[];
  /** Where an instant is drawn, as a share of the whole: 0 is its begin, 1 its end. */
  share: (at: number) => number;
  /** The instant at a share. */
  at: (share: number) => number;
}

/** A stretch is too long when all that is shorter would have less than a tenth of its room; one of a few seconds never is. */
const TIMES = 10;
const LONG_MS = 10_000;
/** What one break takes of the room that the rest has; and all of them together. */
const BREAK_SHARE = 0.12;
const BREAKS_SHARE_MAX = 1;

/** The scale from an instant to another; `instants` are those at which something begins or ends. */
export function scale(from: number, to: number, instants: number[]): Scale {
  const ends = [from, ...instants.filter((it) => it > from && it < to), Math.max(to, from + 1)].sort((a, b) => a - b);
  const stretches = ends.slice(1).map((end, at) => ({ from: ends[at] ?? from, to: end })).filter((it) => it.to > it.from);
  const { long, rest } = apart(stretches.map((it) => it.to - it.from));
  const drawn = (ms: number) => (ms < long ? ms : rest * Math.min(BREAK_SHARE, BREAKS_SHARE_MAX / stretches.filter((it) => it.to - it.from >= long).length));
  // Where each stretch begins, in drawn ms.
  const starts: number[] = [];
  let whole = 0;
  for (const it of stretches) {
    starts.push(whole);
    whole += drawn(it.to - it.from);
  }
  const share = (at: number) => {
    const index = Math.max(0, stretches.findIndex((it) => at < it.to));
    const it = at >= to ? undefined : stretches[index];
    if (it === undefined) return 1;
    return ((starts[index] ?? 0) + (Math.max(0, at - it.from) / (it.to - it.from)) * drawn(it.to - it.from)) / whole;
  };
  const at = (shareOf: number) => {
    const place = Math.max(0, Math.min(1, shareOf)) * whole;
    const index = starts.findLastIndex((start) => start <= place);
    const it = stretches[index];
    if (it === undefined) return from;
    return it.from + ((place - (starts[index] ?? 0)) / drawn(it.to - it.from)) * (it.to - it.from);
  };
  return { breaks: stretches.filter((it) => it.to - it.from >= long), share, at };
}

/** From which length on a stretch is a break, and what all the shorter ones sum up to. */
function apart(lengths: number[]): { long: number; rest: number } {
  let sum = 0;
  for (const ms of [...lengths].sort((a, b) => a - b)) {
    if (sum > 0 && ms >= LONG_MS && ms > TIMES * sum) return { long: ms, rest: sum };
    sum += ms;
  }
  return { long: Infinity, rest: sum };
}
