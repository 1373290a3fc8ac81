'use strict'
// node client.js VERSION PORT [OPTIONS]
//
// A real Seneca that calls whatever listens on loopback's PORT. VERSION is 0.9 or 3. OPTIONS is JSON: `pin` is given to
// client(), all others, such as {"timeout":500}, to Seneca(). A 0.9 without a pin never sends again after a reconnect.
// It prints {"ready":true}. Each line of JSON that it reads is a call, answered by a line with the call's id, in any order:
//
//   {"id":1,"act":"role:api,cmd:add","message":{"left":2,"right":3}}   {"id":1,"ok":{"result":5}}
//   {"id":2,"act":{"role":"api","cmd":"no"}}                            {"id":2,"error":{"code":"act_not_found",…}}
//   {"id":3,"act":…,"reply":false}                                      {"id":3,"sent":true}; the answer is not waited for
//   {"id":4,"act":…,"many":200,"count":"left"}                          {"id":4,"ok":[…],"errors":[…]}; `left` is 0, 1, 2 …
//   {"id":5,"timeout":500}                                              {"id":5,"timeout":500}; of the calls from now on
//
// An empty result is {"ok":null}. A call that is answered once more, as the first call of a 0.9 is after each reconnect, is
// {"id":1,"again":{"ok":…}}. When its input ends it waits for the answers that are due, not for calls without a reply to be
// sent, and exits with 0. An error that nobody caught is printed as {"uncaught":…}, and it exits with 1.

const { seneca, print, onLines } = require('./seneca')

const [version, port, options = '{}'] = process.argv.slice(2)
const { pin, ...senecaOptions } = JSON.parse(options)
const instance = seneca(version, senecaOptions)
let due = 0
let ended = false

instance.client({ type: 'tcp', host: '127.0.0.1', port: Number(port), ...(pin && { pin }) })
instance.ready(() => {
  print({ ready: true })
  onLines(perform, () => {
    ended = true
    exitWhenDone()
  })
})

async function perform({ id, act, message, reply, many, count, timeout }) {
  due++
  if (timeout) {
    instance.timeout(timeout)
    print({ id, timeout })
  } else if (reply === false) {
    instance.act(act, message ?? {})
    print({ id, sent: true })
  } else if (many) {
    const calls = Array.from({ length: many }, (_, i) => call(id, act, { ...message, ...(count && { [count]: i }) }))
    const answers = await Promise.all(calls)
    const [failed, succeeded] = [answers.filter((answer) => answer.error), answers.filter((answer) => !answer.error)]
    print({ id, ok: succeeded.map(({ ok }) => ok), errors: failed.map(({ error }) => error) })
  } else {
    print({ id, ...(await call(id, act, message ?? {})) })
  }
  due--
  exitWhenDone()
}

function call(id, act, message) {
  return new Promise((resolve) => {
    let answered = false
    instance.act(act, message, (error, ok) => {
      const answer = error ? { error: describe(error) } : { ok: ok ?? null }
      if (answered) return print({ id, again: answer })
      answered = true
      resolve(answer)
    })
  })
}

// The code that a handler gave to its own error is kept in a place of each version's own.
function describe({ code, message, name, seneca, timeout, orig, details }) {
  const origins = { orig: orig?.code, orig_orig: orig?.orig?.code, details_orig: details?.orig$?.code }
  return { code, message, name, seneca, timeout, ...origins }
}

function exitWhenDone() {
  if (ended && due === 0) process.exit(0)
}
