// One person looks after it: the others see so, and look at something else.

import { useMutation } from "@tanstack/react-query";

import { send } from "../api/client";
import { useRights, useStale } from "../api/queries";
import { useT } from "../i18n";
import { useSaid } from "../i18n/said";
import { toast } from "../layout/Toasts";
import { myName } from "../saga/who";
import { Button } from "../ui/Controls";
import { problemWords } from "../ui/Page";

export function Take({ id }: { id: string }) {
  const t = useT();
  const said = useSaid();
  const rights = useRights();
  const stale = useStale();
  const owner = myName(rights.me);
  const take = useMutation({
    mutationFn: () => send("PUT", `/sagas/${id}/owner`, { owner, was: "", why: t("owner.take.why") }),
    // Also when somebody else has it: then the button is to go.
    onSettled: () => stale("parked", "saga", "sagas"),
    onError: (error) => toast(problemWords(error, t, said), "parked", "rejected"),
  });
  return <Button kind="ghost" busy={take.isPending} onClick={() => take.mutate()}>{t("owner.take")}</Button>;
}
