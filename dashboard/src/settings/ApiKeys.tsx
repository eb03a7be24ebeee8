// Keys for machines. A key is shown once, when it is made.

import { useMutation, useQuery } from "@tanstack/react-query";
import { useState } from "react";

import { get, send } from "../api/client";
import type { Role } from "../api/contract";
import { useStale } from "../api/queries";
import { term, useT } from "../i18n";
import { Ago, Copy } from "../ui/bits";
import { Button, Check, Dialog, DialogEnd, Field, Input } from "../ui/Controls";
import { Await, ProblemLine, Section } from "../ui/Page";

interface Key { id: string; name: string; prefix: string; roles: Role[]; created_by?: string; created_at: string; expires_at?: string; revoked_at?: string; last_used_at?: string }
const FIRST: Role[] = ["customer"];
const ROLES: Role[] = ["customer", "worker", "viewer", "operator", "author", "admin"];

export function Keys() {
  const t = useT();
  const stale = useStale();
  const asked = useQuery({ queryKey: ["keys"], queryFn: ({ signal }) => get<{ keys: Key[] }>("/ops/keys", signal), retry: false });
  const [open, setOpen] = useState(false);
  const [name, setName] = useState("");
  const [why, setWhy] = useState("");
  const [roles, setRoles] = useState<Role[]>(FIRST);
  const make = useMutation({
    mutationFn: () => send<{ key: string }>("POST", "/ops/keys", { name: name.trim(), roles, why: why.trim() }),
    onSuccess: () => stale("keys"),
  });
  const [revoking, setRevoking] = useState<Key | null>(null);
  const close = () => { setOpen(false); setName(""); setWhy(""); setRoles(FIRST); make.reset(); };
  return (
    <Section title={t("keys.api")} actions={asked.data && <Button icon="plus" onClick={() => setOpen(true)}>{t("keys.make")}</Button>}>
      <Await of={asked}>{({ keys }) => keys.length === 0 ? <p className="muted">{t("keys.none")}</p> : (
        <div className="scroll-x"><table className="plain"><thead><tr><th scope="col">{t("name")}</th><th scope="col">{t("settings.roles")}</th><th scope="col">{t("keys.used")}</th><th scope="col" className="wide">{t("keys.made")}</th><th scope="col"><span className="hidden-visually">{t("act.more")}</span></th></tr></thead>
          <tbody>{keys.map((key) => (
            <tr key={key.id}><td>{key.name} <span className="mono muted">{key.prefix}…</span></td><td>{key.roles.map((role) => term(t, "role", role)).join(", ")}</td><td><Ago at={key.last_used_at} /></td><td className="wide"><Ago at={key.created_at} /></td>
              <td className="right">{key.revoked_at ? <span className="muted">{t("keys.revoked")}</span> : <Button onClick={() => setRevoking(key)}>{t("keys.revoke")}</Button>}</td></tr>
          ))}</tbody></table></div>
      )}</Await>
      {revoking && <RevokeDialog of={revoking} onClose={() => setRevoking(null)} />}
      <Dialog open={open} onClose={close} title={t("keys.make")} fast={make.data !== undefined}>
        {make.data ? (
          <div className="stack"><p>{t("keys.once")}</p><p className="mono break">{make.data.key} <Copy text={make.data.key} /></p><DialogEnd><Button kind="primary" onClick={close}>{t("close")}</Button></DialogEnd></div>
        ) : (
          <form className="stack" onSubmit={(event) => { event.preventDefault(); make.mutate(); }}>
            <Field label={t("name")}>{(id) => <Input id={id} required maxLength={100} value={name} onChange={(event) => setName(event.target.value)} />}</Field>
            <fieldset className="fieldset"><legend>{t("settings.roles")}</legend>{ROLES.map((role) => <Check key={role} label={term(t, "role", role)} checked={roles.includes(role)} onChange={() => setRoles(roles.includes(role) ? roles.filter((it) => it !== role) : [...roles, role])} />)}</fieldset>
            <Field label={t("act.why")}>{(id) => <Input id={id} required value={why} onChange={(event) => setWhy(event.target.value)} />}</Field>
            <ProblemLine error={make.error} />
            <DialogEnd><Button onClick={close}>{t("cancel")}</Button><Button type="submit" kind="primary" disabled={name.trim() === "" || why.trim() === "" || roles.length === 0} busy={make.isPending}>{t("keys.make")}</Button></DialogEnd>
          </form>
        )}
      </Dialog>
    </Section>
  );
}

function RevokeDialog({ of, onClose }: { of: Key; onClose: () => void }) {
  const t = useT();
  const stale = useStale();
  const [why, setWhy] = useState("");
  const revoke = useMutation({
    mutationFn: () => send("DELETE", `/ops/keys/${of.id}?${new URLSearchParams({ why: why.trim() })}`),
    onSuccess: () => { stale("keys"); onClose(); },
  });
  return (
    <Dialog open onClose={onClose} title={`${t("keys.revoke")}: ${of.name}`} description={<p>{t("keys.revoke.about")}</p>}>
      <form className="stack" onSubmit={(event) => { event.preventDefault(); revoke.mutate(); }}>
        <Field label={t("act.why")}>{(id) => <Input id={id} required maxLength={1_000} value={why} onChange={(event) => setWhy(event.target.value)} />}</Field>
        <ProblemLine error={revoke.error} />
        <DialogEnd><Button onClick={onClose}>{t("cancel")}</Button><Button type="submit" kind="danger" disabled={why.trim() === ""} busy={revoke.isPending}>{t("keys.revoke.go", { name: of.name })}</Button></DialogEnd>
      </form>
    </Dialog>
  );
}
