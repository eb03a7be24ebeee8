// A definition's text that this page cannot read: what it would show of it is not there, and the engine has nothing to do with it.

import { useT } from "../i18n";
import { Button } from "../ui/Controls";
import { Notice } from "../ui/Page";

export function TextUnread({ onRetry }: { onRetry: () => unknown }) {
  const t = useT();
  return <div role="alert"><Notice icon="unknown" title={t("text_unread")} action={<Button onClick={() => void onRetry()}>{t("try_again")}</Button>}>{t("text_unread.do")}</Notice></div>;
}
