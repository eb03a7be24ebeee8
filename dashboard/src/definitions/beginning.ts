/** What a new definition begins with: small, and right. */
export const BEGINNING = `saga: my-saga
description: Says in a sentence what it does.

key: \${input.id}
deadline: 10m

input:
  type: object
  required: [id]
  properties:
    id: { type: string, minLength: 1, maxLength: 64 }

steps:
  reserve:
    worker: stock
    action: reserve
    compensation: release
    input:
      order_id: \${input.id}
      items: []
    retry: { attempts: 5, initial: 200ms, max: 10s }
    timeout: 10s

  complete:
    after: [reserve]
    pivot: true
    worker: order
    action: complete
    input:
      order_id: \${input.id}
    retry: { attempts: 100, initial: 200ms, max: 30s }
    timeout: 10s
`;
