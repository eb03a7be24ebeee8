// Buttons, fields, dialogs, menus and tabs: Radix underneath, one look on top.

import "./controls.css";

import { AlertDialog, Dialog as RadixDialog, DropdownMenu, Tabs as RadixTabs } from "radix-ui";
import { type ButtonHTMLAttributes, type ComponentProps, type InputHTMLAttributes, type ReactNode, type SelectHTMLAttributes, type TextareaHTMLAttributes, useEffect, useId, useRef, useState } from "react";

import { useT } from "../i18n";
import { Icon, type IconName } from "./Icon";
import { composing } from "./keyboard";

interface ButtonProps extends ButtonHTMLAttributes<HTMLButtonElement> {
  kind?: "plain" | "primary" | "danger" | "ghost";
  icon?: IconName;
  busy?: boolean;
}

export function Button({ kind = "plain", icon, busy, children, className, disabled, ...rest }: ButtonProps) {
  return (
    <button type="button" className={`button ${kind}${className ? ` ${className}` : ""}`} disabled={disabled || busy} aria-busy={busy || undefined} {...rest}>
      {icon && <Icon name={icon} />}
      {children}
    </button>
  );
}

export function IconButton({ icon, label, ...rest }: { icon: IconName; label: string } & ButtonHTMLAttributes<HTMLButtonElement>) {
  return (
    <button type="button" className="button ghost only-icon" aria-label={label} title={label} {...rest}>
      <Icon name={icon} />
    </button>
  );
}

export function Field({ label, hint, error, children }: { label: string; hint?: ReactNode; error?: ReactNode; children: (id: string) => ReactNode }) {
  const id = useId();
  return (
    <div className="field">
      <label htmlFor={id}>{label}</label>
      {children(id)}
      {hint && <p className="muted hint">{hint}</p>}
      {error && <p className="field-error" role="alert">{error}</p>}
    </div>
  );
}

export function Input(props: ComponentProps<"input">) {
  return <input {...props} className={`input${props.className ? ` ${props.className}` : ""}`} />;
}

/** Written first and applied then: its text follows what applies when that changes, and is the writer's until then. */
export function Applied({ value, ...rest }: { value: string } & Omit<ComponentProps<"input">, "value" | "defaultValue" | "ref">) {
  const field = useRef<HTMLInputElement>(null);
  useEffect(() => { if (field.current) field.current.value = value; }, [value]);
  return <Input {...rest} ref={field} defaultValue={value} />;
}

export function Textarea(props: TextareaHTMLAttributes<HTMLTextAreaElement>) {
  return <textarea rows={3} {...props} className={`input${props.className ? ` ${props.className}` : ""}`} />;
}

export function Select(props: SelectHTMLAttributes<HTMLSelectElement>) {
  return <select {...props} className="input select" />;
}

export function Check({ label, ...rest }: { label: ReactNode } & Omit<InputHTMLAttributes<HTMLInputElement>, "type">) {
  return (
    <label className="check">
      <input type="checkbox" {...rest} />
      <span>{label}</span>
    </label>
  );
}

/**
 * Nothing that is written here is lost by a slip: a click beside it does nothing, and Esc asks first. `fast` holds what is
 * shown only once: it is left by its own buttons alone. `written`: something was, before it opened.
 */
export function Dialog({ open, onClose, title, description, children, wide = false, fast = false, written: before = false }:
  { open: boolean; onClose: () => void; title: string; description?: ReactNode; children: ReactNode; wide?: boolean; fast?: boolean; written?: boolean }) {
  const t = useT();
  const written = useRef(before);
  const [leaving, setLeaving] = useState(false);
  useEffect(() => { written.current = before; }, [open, before]);
  const escape = (event: KeyboardEvent) => {
    if (!fast && !written.current && !composing(event)) return;
    event.preventDefault();
    // The Esc of a syllable that is being put together ends the syllable.
    if (!fast && !composing(event)) setLeaving(true);
  };
  return (
    <RadixDialog.Root open={open} onOpenChange={(next) => !next && onClose()}>
      <RadixDialog.Portal>
        <RadixDialog.Overlay className="overlay" />
        <RadixDialog.Content className={`dialog${wide ? " wide" : ""}`} onInput={(event) => { written.current ||= isText(event.target); }}
          onEscapeKeyDown={escape} onInteractOutside={(event) => event.preventDefault()} {...(description ? {} : { "aria-describedby": undefined })}>
          <div className="spread dialog-head">
            <RadixDialog.Title>{title}</RadixDialog.Title>
            <RadixDialog.Close asChild><IconButton icon="close" label={t("close")} /></RadixDialog.Close>
          </div>
          {description && <RadixDialog.Description asChild><div className="muted dialog-about">{description}</div></RadixDialog.Description>}
          {children}
          <Confirm open={leaving} onClose={() => setLeaving(false)} onConfirm={onClose} title={t("dialog.give_up")} words={t("dialog.give_up.about")} act={t("dialog.give_up.go")} />
        </RadixDialog.Content>
      </RadixDialog.Portal>
    </RadixDialog.Root>
  );
}

/** What takes words to write; not a tick or a choice. */
function isText(field: EventTarget): boolean {
  return field instanceof HTMLTextAreaElement || (field instanceof HTMLInputElement && field.type !== "checkbox" && field.type !== "radio");
}

export function DialogEnd({ children }: { children: ReactNode }) {
  return <div className="dialog-end">{children}</div>;
}

export interface MenuItem { label: string; icon?: IconName; onSelect: () => void; danger?: boolean; disabled?: boolean; note?: string | undefined }

export function Menu({ trigger, items }: { trigger: ReactNode; items: (MenuItem | "line")[] }) {
  return (
    <DropdownMenu.Root modal={false}>
      <DropdownMenu.Trigger asChild>{trigger}</DropdownMenu.Trigger>
      <DropdownMenu.Portal>
        <DropdownMenu.Content className="menu" align="end" sideOffset={4}>
          {items.map((item, at) =>
            item === "line" ? <DropdownMenu.Separator key={`line-${at}`} className="menu-line" /> : (
              <DropdownMenu.Item key={item.label} className={`menu-item${item.danger ? " danger" : ""}`} disabled={item.disabled ?? false} onSelect={item.onSelect}>
                {item.icon && <Icon name={item.icon} />}
                <span className="grow">{item.label}{item.note && <span className="menu-note">{item.note}</span>}</span>
              </DropdownMenu.Item>
            ))}
        </DropdownMenu.Content>
      </DropdownMenu.Portal>
    </DropdownMenu.Root>
  );
}

export interface Tab { value: string; label: ReactNode; body: ReactNode }

export function Tabs({ tabs, value, onChange, label }: { tabs: Tab[]; value: string; onChange: (value: string) => void; label: string }) {
  return (
    <RadixTabs.Root value={value} onValueChange={onChange} className="tabs">
      <RadixTabs.List className="tabs-list" aria-label={label}>
        {tabs.map((tab) => <RadixTabs.Trigger key={tab.value} value={tab.value} className="tab">{tab.label}</RadixTabs.Trigger>)}
      </RadixTabs.List>
      {tabs.map((tab) => <RadixTabs.Content key={tab.value} value={tab.value} className="tab-body" tabIndex={-1}>{tab.body}</RadixTabs.Content>)}
    </RadixTabs.Root>
  );
}

/** For what leaves no trace in the engine, such as giving up an unsaved text. */
export function Confirm({ open, onClose, onConfirm, title, words, act }:
  { open: boolean; onClose: () => void; onConfirm: () => void; title: string; words: string; act: string }) {
  const t = useT();
  return (
    <AlertDialog.Root open={open} onOpenChange={(next) => !next && onClose()}>
      <AlertDialog.Portal>
        <AlertDialog.Overlay className="overlay" />
        <AlertDialog.Content className="dialog">
          <AlertDialog.Title>{title}</AlertDialog.Title>
          <AlertDialog.Description className="muted dialog-about">{words}</AlertDialog.Description>
          <DialogEnd>
            <AlertDialog.Cancel asChild><Button>{t("cancel")}</Button></AlertDialog.Cancel>
            <AlertDialog.Action asChild><Button kind="danger" onClick={onConfirm}>{act}</Button></AlertDialog.Action>
          </DialogEnd>
        </AlertDialog.Content>
      </AlertDialog.Portal>
    </AlertDialog.Root>
  );
}
