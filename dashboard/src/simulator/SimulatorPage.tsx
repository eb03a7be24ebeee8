import { Page } from "../ui/Page";

export function SimulatorPage() {
  return <Page title="">{null}</Page>;
}
