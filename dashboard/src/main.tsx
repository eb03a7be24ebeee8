import "pretendard/dist/web/variable/pretendardvariable-dynamic-subset.css";
import "./ui/tokens.css";
import "./ui/base.css";
import "./ui/state.css";

import { MutationCache, QueryCache, QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { RouterProvider } from "@tanstack/react-router";
import { setNonce } from "get-nonce";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";

import { startLive } from "./api/live";
import { asProblem } from "./api/problem";
import { onSessionChange } from "./api/session";
import { router } from "./app";
import { currentLanguage } from "./i18n";
import { Door } from "./settings/SignIn";
import { applyTheme } from "./settings/theme";
import { exactInCopies } from "./ui/copies";
import { loadWhenIdle } from "./ui/lazily";

applyTheme();
exactInCopies();
document.documentElement.lang = currentLanguage();
// The style that a dialog puts into the page to keep it from scrolling, under the page's own policy.
const nonce = document.querySelector<HTMLMetaElement>("meta[property=csp-nonce]")?.nonce;
if (nonce) setNonce(nonce);

/** Who is refused anywhere may be signed in no more: the door asks. */
const refused = (error: unknown) => {
  if (asProblem(error).kind === "unauthorized") void client.invalidateQueries({ queryKey: ["me"] });
};
const client: QueryClient = new QueryClient({
  queryCache: new QueryCache({ onError: (error, query) => { if (query.queryKey[0] !== "me") refused(error); } }),
  mutationCache: new MutationCache({ onError: refused }),
  defaultOptions: {
    // The engine may be on this machine: what the browser thinks of its network says nothing about it.
    mutations: { networkMode: "always" },
    queries: {
      networkMode: "always",
      retry: (count, error) => count < 2 && ["busy", "failed"].includes(asProblem(error).kind),
      staleTime: 1_000,
      refetchOnWindowFocus: true,
    },
  },
});
startLive(client);
// What somebody else was shown is forgotten.
onSessionChange((same) => void (same ? client.invalidateQueries() : client.resetQueries()));

const place = document.getElementById("root");
if (place) {
  createRoot(place).render(
    <StrictMode>
      <QueryClientProvider client={client}>
        <Door><RouterProvider router={router} /></Door>
      </QueryClientProvider>
    </StrictMode>,
  );
}
if (document.readyState === "complete") loadWhenIdle();
else window.addEventListener("load", loadWhenIdle, { once: true });
