// What definitions and topics call this worker, and which version of it announces itself.

export const NAME = "__NAME__";
export const VERSION = "0.1.0";
