// A session followed by OpenClaw's own client: the history, what is appended, and why it ends.
import { GatewayClient } from '@openclaw/gateway-client'

const [url, token] = process.argv.slice(2)
const sessionKey = new URL(url).pathname.split('/')[2]

const options = {
    url: url.replace('http', 'ws').replace(/\/sessions.*/, '/'),
    token,
    clientName: 'gateway-client',
    mode: 'backend',
    role: 'operator',
    scopes: ['operator.read'],
}
const connect = more => {
    const client = new GatewayClient({ ...options, ...more })
    client.start()
    return client
}

let why
const closed = new Promise(done => { why = done })
const client = await new Promise((done, failed) => {
    const client = connect({
        onHelloOk: () => setTimeout(() => done(client)),
        onConnectError: failed,
        onClose: (code, reason) => why(`${code} ${reason}`),
        onEvent: ({ event, payload }) => {
            if (event === 'session.message') console.log('message', payload.message.content)
        },
    })
})
const subscribed = await client.request('sessions.messages.subscribe', { key: sessionKey })
const history = await client.request('chat.history', { sessionKey, limit: 10 })
if (subscribed.key === sessionKey && Array.isArray(history.messages)) console.log('history')
const reason = await closed
console.log(reason === '1008 revoked' ? 'ended' : `closed: ${reason}`)
client.stop()

const error = await new Promise(done => {
    const again = connect({ onConnectError: error => { done(error); again.stop() }, onHelloOk: () => done(new Error('let in')) })
})
console.log(/token mismatch/.test(error.message) ? 'refused 401' : error.message)
process.exit()
