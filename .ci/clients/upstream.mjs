// OpenAI's client for Node, and beside it the same key's session history.
import OpenAI from 'openai'

const [url, key, session] = process.argv.slice(2)
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: key, maxRetries: 0, timeout: 30_000 })
const talk = { model: 'm-1', messages: [{ role: 'user', content: 'ping' }] }
const history = accept =>
    fetch(`${url}/sessions/${session}/history`, { headers: { Authorization: `Bearer ${key}`, Accept: accept } })

const first = async (stream, word) => {
    const words = []
    for (;;) {
        words.push(word((await stream.next()).value))
        if (words.length === 3) return words.join(', ')
    }
}
const raised = async stream => {
    try {
        while (!(await stream.next()).done);
        return 'nothing'
    } catch (error) {
        return error instanceof OpenAI.APIError ? error.code : error
    }
}

console.log('models', (await client.models.list()).data.map(model => model.id).join())
console.log('completion', (await client.chat.completions.create(talk)).choices[0].message.content)
console.log('response', (await client.responses.create({ model: 'm-1', input: 'ping' })).output_text)
console.log('history', (await (await history('application/json')).json()).messages.length)

const live = (await history('text/event-stream')).body.pipeThrough(new TextDecoderStream()).getReader()
for (let seen = ''; !seen.includes('event: history\n'); ) seen += (await live.read()).value
console.log('follows the history')
const chat = (await client.chat.completions.create({ ...talk, stream: true }))[Symbol.asyncIterator]()
console.log('completes', await first(chat, chunk => chunk.choices[0].delta.content))
const response = (await client.responses.create({ model: 'm-1', input: 'ping', stream: true }))[Symbol.asyncIterator]()
console.log('responds', await first(response, event => event.delta))
console.log('completion raised', await raised(chat))
console.log('response raised', await raised(response))
while (!(await live.read()).done);
console.log('the history ended')
await client.models.list().catch(error => console.log('refused', error.status))
