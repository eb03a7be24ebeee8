// Which Chromium: Debian's, or the one that AMENDS_CHROMIUM names.

import { existsSync } from "node:fs";

const BROWSERS = ["/usr/bin/chromium", "/usr/bin/google-chrome", "/usr/bin/chromium-browser"];

export function chromiumPath(): string {
  const path = process.env["AMENDS_CHROMIUM"] ?? BROWSERS.find((it) => existsSync(it));
  if (path === undefined) throw new Error("no Chromium: deploy/install test installs it, or set AMENDS_CHROMIUM");
  return path;
}
