// Which page is at which address. Everything but the overview loads when it is first opened.

import { createRootRoute, createRoute, createRouter, lazyRouteComponent } from "@tanstack/react-router";

import { Layout } from "./layout/Layout";
import { NotFound } from "./layout/NotFound";
import { OverviewPage } from "./overview/OverviewPage";

const root = createRootRoute({ component: Layout, notFoundComponent: NotFound });
/** The query string is plain text on every page: what a filter says is what the address shows. */
const search = (raw: Record<string, unknown>) => raw as Record<string, string | undefined>;
const getParentRoute = () => root;

const routes = [
  createRoute({ getParentRoute, path: "/", component: OverviewPage }),
  createRoute({ getParentRoute, path: "/sagas", validateSearch: search, component: lazyRouteComponent(() => import("./sagas/SagasPage"), "SagasPage") }),
  createRoute({ getParentRoute, path: "/sagas/$id", validateSearch: search, component: lazyRouteComponent(() => import("./saga/SagaPage"), "SagaPage") }),
  createRoute({ getParentRoute, path: "/parked", validateSearch: search, component: lazyRouteComponent(() => import("./parked/ParkedPage"), "ParkedPage") }),
  createRoute({ getParentRoute, path: "/failures", validateSearch: search, component: lazyRouteComponent(() => import("./failures/FailuresPage"), "FailuresPage") }),
  createRoute({ getParentRoute, path: "/jobs", component: lazyRouteComponent(() => import("./jobs/JobsPage"), "JobsPage") }),
  createRoute({ getParentRoute, path: "/jobs/$id", validateSearch: search, component: lazyRouteComponent(() => import("./jobs/JobPage"), "JobPage") }),
  createRoute({ getParentRoute, path: "/workers", validateSearch: search, component: lazyRouteComponent(() => import("./workers/WorkersPage"), "WorkersPage") }),
  createRoute({ getParentRoute, path: "/dead-letters", validateSearch: search, component: lazyRouteComponent(() => import("./dead-letters/DeadLettersPage"), "DeadLettersPage") }),
  createRoute({ getParentRoute, path: "/audit", validateSearch: search, component: lazyRouteComponent(() => import("./audit/AuditPage"), "AuditPage") }),
  createRoute({ getParentRoute, path: "/reconciliation", component: lazyRouteComponent(() => import("./reconciliation/ReconciliationPage"), "ReconciliationPage") }),
  createRoute({ getParentRoute, path: "/definitions", component: lazyRouteComponent(() => import("./definitions/DefinitionsPage"), "DefinitionsPage") }),
  createRoute({ getParentRoute, path: "/definitions/$name", validateSearch: search, component: lazyRouteComponent(() => import("./definitions/DefinitionPage"), "DefinitionPage") }),
  createRoute({ getParentRoute, path: "/editor", validateSearch: search, component: lazyRouteComponent(() => import("./definitions/EditorPage"), "EditorPage") }),
  createRoute({ getParentRoute, path: "/simulator", validateSearch: search, component: lazyRouteComponent(() => import("./simulator/SimulatorPage"), "SimulatorPage") }),
  createRoute({ getParentRoute, path: "/settings", component: lazyRouteComponent(() => import("./settings/SettingsPage"), "SettingsPage") }),
] as const;

export const router = createRouter({
  routeTree: root.addChildren(routes),
  basepath: "/ui",
  parseSearch: (text) => Object.fromEntries(new URLSearchParams(text)),
  stringifySearch: (values) => {
    const set = Object.entries(values).filter(([, value]) => value !== undefined && value !== "");
    return set.length === 0 ? "" : `?${new URLSearchParams(set.map(([name, value]) => [name, String(value)]))}`;
  },
});

declare module "@tanstack/react-router" {
  interface Register { router: typeof router }
}
