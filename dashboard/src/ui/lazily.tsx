// Parts that load when they are first shown, or when the browser has nothing else to do. One that cannot be fetched says so in
// its place and is asked for again there: nothing loads the whole dashboard anew by itself, for what is written on other pages,
// and the sign-in, live in its memory only.

import { type ReactNode, useEffect, useState } from "react";

import { useT } from "../i18n";
import { Button } from "./Controls";
import { Notice, Page, Skeleton } from "./Page";

const parts: (() => Promise<void>)[] = [];

type Part<P> = (props: P) => ReactNode;
interface Looks { waiting: ReactNode; failed: (again: () => void) => ReactNode }

/** A component whose script is fetched later. */
export function lazily<P extends object>(load: () => Promise<Part<P>>, { waiting, failed }: Looks): Part<P> {
  const part: { it: Part<P> | null } = { it: null };
  const fetched = async () => { part.it ??= await load(); };
  parts.push(fetched);
  return function Lazily(props: P) {
    const [state, setState] = useState<"there" | "asked" | "failed">(part.it === null ? "asked" : "there");
    useEffect(() => {
      if (state !== "asked") return;
      let shown = true;
      fetched().then(() => shown && setState("there"), () => shown && setState("failed"));
      return () => { shown = false; };
    }, [state]);
    if (part.it !== null) return <part.it {...props} />;
    return state === "failed" ? failed(() => setState("asked")) : waiting;
  };
}

/** A page. */
export function lazyPage<N extends string>(load: () => Promise<Record<N, Part<object>>>, name: N): Part<object> {
  return lazily(async () => (await load())[name], { waiting: <Skeleton rows={8} />, failed: (again) => <PageNotLoaded onRetry={again} /> });
}

/** A part of a page; its place is kept until then, as high as it will be where that is known. */
export function lazyPart<P extends object>(load: () => Promise<Part<P>>, height?: number): Part<P> {
  return lazily(load, { waiting: height === undefined ? <Skeleton rows={6} /> : <div aria-busy="true" style={{ height }} />, failed: (again) => <NotLoaded onRetry={again} /> });
}

function NotLoaded({ onRetry }: { onRetry: () => void }) {
  const t = useT();
  return (
    <div role="alert">
      <Notice icon="abandoned" tone="late" title={t("part.failed")} action={
        <div className="row wrap"><Button kind="primary" onClick={onRetry}>{t("try_again")}</Button><Button onClick={() => location.reload()}>{t("part.reload")}</Button></div>
      }>{t("part.failed.do")}</Notice>
    </div>
  );
}

function PageNotLoaded({ onRetry }: { onRetry: () => void }) {
  const t = useT();
  return <Page title={t("part.page")}><NotLoaded onRetry={onRetry} /></Page>;
}

/** Fetches all parts, one after the other, whenever the browser is idle: an engine that goes away takes no page with it. */
export function loadWhenIdle(): void {
  const { connection } = navigator as Navigator & { connection?: { saveData?: boolean } };
  if (connection?.saveData) return;
  const idle = (then: () => void) => { if ("requestIdleCallback" in window) requestIdleCallback(then); else setTimeout(then, 2_000); };
  // Parts of parts are known once these are there.
  const next = (at: number) => idle(() => {
    const part = parts[at];
    if (part) void part().catch(() => undefined).then(() => next(at + 1));
  });
  next(0);
}
