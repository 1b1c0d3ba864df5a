// The EventSource of npm, which can send headers and tells the status of a refusal.
import { EventSource } from 'eventsource'

const [url, token] = process.argv.slice(2)
const authorized = (input, init) =>
    fetch(input, { ...init, headers: { ...init.headers, Authorization: `Bearer ${token}` } })
const source = new EventSource(url, { fetch: authorized })
source.addEventListener('history', () => console.log('history'))
source.addEventListener('message', event => console.log('message', JSON.parse(event.data).message.content))
source.addEventListener('error', error => {
    if (source.readyState === EventSource.CONNECTING) console.log('ended')
    else console.log('refused', error.code)
})
