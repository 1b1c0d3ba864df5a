// A session followed over OpenClaw's protocol, by the WebSocket of npm: the history, what is appended, and why it ends.
import WebSocket from 'ws'

const [url, token] = process.argv.slice(2)
const sessionKey = new URL(url).pathname.split('/')[2]

function connect() {
    const socket = new WebSocket(new URL('/', url.replace('http', 'ws')))
    const waiting = new Map()
    const ask = (method, params) => new Promise(done => {
        const id = String(waiting.size + 1)
        waiting.set(id, done)
        socket.send(JSON.stringify({ type: 'req', id, method, params }))
    })
    const closed = new Promise(done => socket.once('close', (code, reason) => done(`${code} ${reason}`)))
    const challenged = new Promise(done => socket.on('message', text => {
        const frame = JSON.parse(text)
        if (frame.type === 'res') waiting.get(frame.id)(frame)
        else if (frame.event === 'connect.challenge') done()
        else if (frame.event === 'session.message') console.log('message', frame.payload.message.content)
    }))
    const client = { id: 'gateway-client', version: '1.0.0', platform: process.platform, mode: 'backend' }
    const hello = challenged.then(() => ask('connect', {
        minProtocol: 4, maxProtocol: 4, client, role: 'operator', scopes: ['operator.read'], auth: { token }
    }))
    return { ask, closed, hello }
}

const { ask, closed, hello } = connect()
if ((await hello).payload.protocol !== 4) throw new Error('another protocol')
const subscribed = await ask('sessions.messages.subscribe', { key: sessionKey })
const history = await ask('chat.history', { sessionKey, limit: 10 })
if (subscribed.payload.key === sessionKey && Array.isArray(history.payload.messages)) console.log('history')
const why = await closed
console.log(why === '1008 revoked' ? 'ended' : `closed: ${why}`)

const again = connect()
const refused = await again.hello
const close = await again.closed
console.log(refused.error.details.code === 'AUTH_TOKEN_MISMATCH' && close.startsWith('1008 ') ? 'refused 401' : close)
