// Where this browser opens a saga's trace.

import { useState } from "react";

import { useT } from "../i18n";
import { toast } from "../layout/Toasts";
import { Button, Field, Input } from "../ui/Controls";
import { setTraceTemplate, traceTemplate } from "./trace";

export function TraceViewer() {
  const t = useT();
  const [text, setText] = useState(traceTemplate);
  const [bad, setBad] = useState(false);
  const save = () => {
    const kept = setTraceTemplate(text);
    setBad(!kept);
    if (kept) toast(t("settings.saved"));
  };
  return (
    <form className="row wrap form-line" onSubmit={(event) => { event.preventDefault(); save(); }}>
      <Field label={t("trace.viewer")} hint={t("trace.viewer.hint")} error={bad ? t("trace.viewer.bad") : undefined}>{(id) => <Input id={id} className="mono" value={text} onChange={(event) => setText(event.target.value)} />}</Field>
      <Button type="submit">{t("save")}</Button>
    </form>
  );
}
