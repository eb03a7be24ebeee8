import { Link } from "@tanstack/react-router";

import { short } from "../ui/bits";

/** A saga by its id, where no key is known. */
export function SagaLink({ id, children }: { id: string; children?: string }) {
  return <Link to="/sagas/$id" params={{ id }} className={children ? "" : "mono"} title={id}>{children ?? short(id)}</Link>;
}
