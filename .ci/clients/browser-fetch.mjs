// Streaming fetch in a browser. The page is the gateway's own 404, so it is of the same origin and may
// send the header; that of the gateway would send requests of its own.
import { open } from './browser.mjs'

const [url, token] = process.argv.slice(2)
const { browser, page } = await open(new URL('/nothing', url).href, { allow404: true })
await page.evaluate(async ([url, token]) => {
    const ask = () => fetch(url, { headers: { Authorization: `Bearer ${token}`, Accept: 'text/event-stream' } })
    const reader = (await ask()).body.pipeThrough(new TextDecoderStream()).getReader()
    let text = ''
    for (;;) {
        const { done, value } = await reader.read()
        if (done) break
        const blocks = (text + value).split('\n\n')
        text = blocks.pop()
        for (const block of blocks) {
            const [, name, data] = block.match(/^event: (.*)\ndata: (.*)$/) ?? []
            if (name === 'history') await tell('history')
            if (name === 'message') await tell(`message ${JSON.parse(data).message.content}`)
        }
    }
    await tell('ended')
    await tell(`refused ${(await ask()).status}`)
}, [url, token])
await browser.close()
