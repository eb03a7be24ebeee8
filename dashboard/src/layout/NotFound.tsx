import { Link } from "@tanstack/react-router";

import { useT } from "../i18n";
import { Notice } from "../ui/Page";

export function NotFound() {
  const t = useT();
  return <Notice icon="unknown" title={t("not_found")} action={<Link to="/">{t("overview")}</Link>} />;
}
