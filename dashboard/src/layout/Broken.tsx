// A page that broke while it was drawn, by a mistake of ours: the frame stays, and it says so.

import { useQueryClient } from "@tanstack/react-query";
import type { ErrorComponentProps } from "@tanstack/react-router";

import { useT } from "../i18n";
import { Button } from "../ui/Controls";
import { Notice, Page } from "../ui/Page";

export function Broken({ error, reset }: ErrorComponentProps) {
  const t = useT();
  const client = useQueryClient();
  // What it broke on is not shown to it again: what no page looks at any more is asked for anew.
  const again = () => { client.removeQueries({ type: "inactive" }); reset(); };
  return (
    <Page title={t("part.page")}>
      <div role="alert"><Notice icon="rejected" tone="parked" title={t("part.broken")} action={<Button kind="primary" onClick={again}>{t("try_again")}</Button>}><code className="break">{error instanceof Error ? error.message : String(error)}</code></Notice></div>
    </Page>
  );
}
