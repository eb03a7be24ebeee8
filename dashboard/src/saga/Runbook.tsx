// Where a definition says how it is operated: a link where it is one.

export function Runbook({ at }: { at: string }) {
  return /^https?:/.test(at) ? <a href={at} target="_blank" rel="noreferrer">{at}</a> : <span className="mono break">{at}</span>;
}
