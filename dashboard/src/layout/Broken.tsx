// A page that broke while it was drawn, by a mistake of ours: the frame stays, and it says so.

import type { ErrorComponentProps } from "@tanstack/react-router";

import { useT } from "../i18n";
import { Button } from "../ui/Controls";
import { Notice, Page } from "../ui/Page";

export function Broken({ error, reset }: ErrorComponentProps) {
  const t = useT();
  return (
    <Page title={t("part.page")}>
      <div role="alert"><Notice icon="rejected" tone="parked" title={t("part.broken")} action={<Button kind="primary" onClick={reset}>{t("try_again")}</Button>}><code className="break">{error instanceof Error ? error.message : String(error)}</code></Notice></div>
    </Page>
  );
}
