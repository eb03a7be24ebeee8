// The frame around every page: where one can go, whether what is seen is live, and what everybody must know now.

import "./layout.css";

import { useQuery } from "@tanstack/react-query";
import { Link, Outlet, useNavigate, useRouterState } from "@tanstack/react-router";
import { Dialog as RadixDialog } from "radix-ui";
import { useEffect, useRef, useState, useSyncExternalStore } from "react";

import { reach } from "../api/client";
import { UNTOLD_MS, useInterval, useLive } from "../api/live";
import { holds, overview, useRights } from "../api/queries";
import { setLanguage, term, useLanguage, useT } from "../i18n";
import { setTheme, useDark } from "../settings/theme";
import { Ago, Kbd } from "../ui/bits";
import { Button, IconButton } from "../ui/Controls";
import { Icon } from "../ui/Icon";
import { Unread } from "../ui/Page";
import { useCommands } from "./commands";
import { KeyHelp, useKeys } from "./Keys";
import { NAVIGATION } from "./navigation";
import { Palette } from "./Palette";
import { Toasts } from "./Toasts";

export function Layout() {
  const t = useT();
  const [palette, setPalette] = useState(false);
  const [help, setHelp] = useState(false);
  const [menu, setMenu] = useState(false);
  useKeys({ openPalette: () => setPalette(true), openHelp: () => setHelp(true) });
  useGlobalCommands(() => setHelp(true));
  const main = useRef<HTMLElement>(null);
  const path = useRouterState({ select: (state) => state.location.pathname });
  useEffect(() => {
    setMenu(false);
    main.current?.scrollTo(0, 0);
  }, [path]);
  return (
    <div className="app">
      <a className="skip" href="#main">{t("skip")}</a>
      <Side />
      <header className="top">
        <span className="top-menu"><IconButton icon="menu" label={t("menu")} onClick={() => setMenu(true)} /></span>
        <Button className="top-search" icon="search" onClick={() => setPalette(true)}>{t("palette.open")}<Kbd>{/Mac/.test(navigator.platform) ? "⌘K" : "Ctrl K"}</Kbd></Button>
        <span className="grow" />
        <Live />
        <IconButton icon="unknown" label={t("keys.title")} onClick={() => setHelp(true)} />
      </header>
      <main className="main" id="main" tabIndex={-1} ref={main}>
        <Banners />
        <div className="grow"><Outlet /></div>
      </main>
      <RadixDialog.Root open={menu} onOpenChange={setMenu}>
        <RadixDialog.Portal>
          <RadixDialog.Overlay className="overlay" />
          <RadixDialog.Content className="dialog drawer" aria-describedby={undefined}>
            <RadixDialog.Title className="hidden-visually">{t("menu")}</RadixDialog.Title>
            <Side />
          </RadixDialog.Content>
        </RadixDialog.Portal>
      </RadixDialog.Root>
      {palette && <Palette onClose={() => setPalette(false)} />}
      <KeyHelp open={help} onClose={() => setHelp(false)} />
      <Toasts />
    </div>
  );
}

/** What can be done wherever one is. */
function useGlobalCommands(help: () => void): void {
  const t = useT();
  const rights = useRights();
  const navigate = useNavigate();
  const language = useLanguage();
  const dark = useDark();
  useCommands([
    ...(rights.operate ? [{ id: "c/hold", label: t("holds.all"), icon: "hold" as const, go: () => void navigate({ to: "/workers", search: { hold: "starts" } }) }] : []),
    ...(rights.author ? [{ id: "c/new", label: t("definitions.new"), icon: "plus" as const, go: () => void navigate({ to: "/editor" }) }] : []),
    { id: "c/dark", label: t(dark ? "palette.light" : "palette.dark"), icon: "settings", go: () => setTheme(dark ? "light" : "dark") },
    { id: "c/language", label: language === "en" ? "한국어" : "English", icon: "settings", go: () => setLanguage(language === "en" ? "ko" : "en") },
    { id: "c/keys", label: t("keys.title"), icon: "unknown", go: help },
  ], true);
}

function Side() {
  const t = useT();
  const rights = useRights();
  const { data } = useQuery({ ...overview, refetchInterval: useInterval(10_000), retry: false });
  const counted: Record<string, number | undefined> = {
    "/parked": data && data.now.parked + data.now.anomalies, "/dead-letters": data?.dead_letters,
  };
  return (
    <nav className="side" aria-label={t("nav")}>
      <Link to="/" className="brand"><img src="/ui/icon.svg" alt="" />Amends</Link>
      {NAVIGATION.map(({ group, pages }) => (
        <div key={group}>
          {group !== "nav.now" && <p className="nav-group">{t(group)}</p>}
          <div className="nav">
            {pages.map((page) => (
              <Link key={page.to} to={page.to} activeOptions={{ exact: page.to === "/" }} activeProps={{ className: "active", "aria-current": "page" }}>
                <Icon name={page.icon} />{t(page.label)}
                {(counted[page.to] ?? 0) > 0 && <span className={`nav-count${page.to === "/parked" ? " tone-parked" : ""}`}>{counted[page.to]}</span>}
              </Link>
            ))}
          </div>
        </div>
      ))}
      <div className="side-end">{rights.me ? <>{rights.me.dev ? t("dev_mode") : rights.me.principal}<br />{rights.me.roles.map((role) => term(t, "role", role)).join(", ")}</> : rights.operate ? t("no_sign_in") : "…"}</div>
    </nav>
  );
}

function Live() {
  const t = useT();
  const live = useLive();
  const reachable = useSyncExternalStore(reach.subscribe, reach.get);
  const [tone, words] = !reachable ? ["off", t("live.offline")] as const
    : live === "live" ? ["on", t("live.live")] as const
    : live === "polling" ? ["poll", t("live.polling")] as const
    : ["poll", t("live.connecting")] as const;
  return <span className={`live ${tone}`} role="status" title={words}><span className="live-dot" /><span className="live-words">{words}</span></span>;
}

function Banners() {
  const t = useT();
  const reachable = useSyncExternalStore(reach.subscribe, reach.get);
  const asked = useQuery({ ...holds, refetchInterval: useInterval(UNTOLD_MS, UNTOLD_MS) });
  const held = asked.data?.holds ?? [];
  const { unknown } = useRights();
  return (
    <>
      {unknown && reachable && (
        <div className="banner tone-late" role="alert">
          <Icon name="unknown" /><span>{t("rights.unknown")}</span><button type="button" className="link" onClick={unknown.again}>{t("try_again")}</button>
        </div>
      )}
      {!reachable && (
        <div className="banner tone-parked" role="alert">
          <Icon name="abandoned" /><span>{t("offline")} <Ago at={new Date(reach.answeredAt()).toISOString()} /></span>
        </div>
      )}
      <Unread of={asked} what={t("holds")} />
      {held.length > 0 && (
        <div className="banner tone-late" role="status">
          <Icon name="hold" />
          <span>{t("holds.banner", { count: held.length })} {held.map((hold) => hold.kind === "starts" ? t("holds.starts") : hold.definition ?? `${hold.worker}.${hold.action ?? "*"}`).join(", ")}</span>
          <Link to="/workers">{t("holds.look")}</Link>
        </div>
      )}
    </>
  );
}
