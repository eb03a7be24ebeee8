// Which page is at which address. Everything but the overview loads when it is first opened, or when nothing else is to do.

import { createRootRoute, createRoute, createRouter } from "@tanstack/react-router";

import { Broken } from "./layout/Broken";
import { Layout } from "./layout/Layout";
import { NotFound } from "./layout/NotFound";
import { OverviewPage } from "./overview/OverviewPage";
import { lazyPage } from "./ui/lazily";

const root = createRootRoute({ component: Layout, notFoundComponent: NotFound });
/** The query string is plain text on every page: what a filter says is what the address shows. */
const search = (raw: Record<string, unknown>) => raw as Record<string, string | undefined>;
const getParentRoute = () => root;

const routes = [
  createRoute({ getParentRoute, path: "/", component: OverviewPage }),
  createRoute({ getParentRoute, path: "/sagas", validateSearch: search, component: lazyPage(() => import("./sagas/SagasPage"), "SagasPage") }),
  createRoute({ getParentRoute, path: "/sagas/$id", validateSearch: search, component: lazyPage(() => import("./saga/SagaPage"), "SagaPage") }),
  createRoute({ getParentRoute, path: "/parked", validateSearch: search, component: lazyPage(() => import("./parked/ParkedPage"), "ParkedPage") }),
  createRoute({ getParentRoute, path: "/failures", validateSearch: search, component: lazyPage(() => import("./failures/FailuresPage"), "FailuresPage") }),
  createRoute({ getParentRoute, path: "/jobs", component: lazyPage(() => import("./jobs/JobsPage"), "JobsPage") }),
  createRoute({ getParentRoute, path: "/jobs/$id", validateSearch: search, component: lazyPage(() => import("./jobs/JobPage"), "JobPage") }),
  createRoute({ getParentRoute, path: "/workers", validateSearch: search, component: lazyPage(() => import("./workers/WorkersPage"), "WorkersPage") }),
  createRoute({ getParentRoute, path: "/dead-letters", validateSearch: search, component: lazyPage(() => import("./dead-letters/DeadLettersPage"), "DeadLettersPage") }),
  createRoute({ getParentRoute, path: "/audit", validateSearch: search, component: lazyPage(() => import("./audit/AuditPage"), "AuditPage") }),
  createRoute({ getParentRoute, path: "/reconciliation", component: lazyPage(() => import("./reconciliation/ReconciliationPage"), "ReconciliationPage") }),
  createRoute({ getParentRoute, path: "/definitions", component: lazyPage(() => import("./definitions/DefinitionsPage"), "DefinitionsPage") }),
  createRoute({ getParentRoute, path: "/definitions/$name", validateSearch: search, component: lazyPage(() => import("./definitions/DefinitionPage"), "DefinitionPage") }),
  createRoute({ getParentRoute, path: "/editor", validateSearch: search, component: lazyPage(() => import("./definitions/EditorPage"), "EditorPage") }),
  createRoute({ getParentRoute, path: "/simulator", validateSearch: search, component: lazyPage(() => import("./simulator/SimulatorPage"), "SimulatorPage") }),
  createRoute({ getParentRoute, path: "/settings", component: lazyPage(() => import("./settings/SettingsPage"), "SettingsPage") }),
] as const;

export const router = createRouter({
  routeTree: root.addChildren(routes),
  basepath: "/ui",
  defaultErrorComponent: Broken,
  // Another saga, job or definition is another page: no dialog and no half-written word of one stands over the next.
  defaultRemountDeps: ({ params }) => params,
  parseSearch: (text) => Object.fromEntries(new URLSearchParams(text)),
  stringifySearch: (values) => {
    const set = Object.entries(values).filter(([, value]) => value !== undefined && value !== "");
    return set.length === 0 ? "" : `?${new URLSearchParams(set.map(([name, value]) => [name, String(value)]))}`;
  },
});

declare module "@tanstack/react-router" {
  interface Register { router: typeof router }
}
