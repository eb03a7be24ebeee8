import "pretendard/dist/web/variable/pretendardvariable-dynamic-subset.css";
import "./ui/tokens.css";
import "./ui/base.css";
import "./ui/state.css";

import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { RouterProvider } from "@tanstack/react-router";
import { setNonce } from "get-nonce";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";

import { startLive } from "./api/live";
import { asProblem } from "./api/problem";
import { onTokenChange } from "./api/session";
import { router } from "./app";
import { currentLanguage } from "./i18n";
import { Door } from "./settings/SignIn";
import { applyTheme } from "./settings/theme";

applyTheme();
document.documentElement.lang = currentLanguage();
// The style that a dialog puts into the page to keep it from scrolling, under the page's own policy.
const nonce = document.querySelector<HTMLMetaElement>("meta[property=csp-nonce]")?.nonce;
if (nonce) setNonce(nonce);

const client = new QueryClient({
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
onTokenChange(() => void client.resetQueries());

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
