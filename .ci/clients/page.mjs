// The gateway's page in a browser: `node page.mjs GATEWAY`, or with `--picture FILE` the picture of it for the README.
//
// One gateway on a scratch folder, and a browser that signs in, follows, is refused, cut off, revoked, and shows others
// out. Each state is looked at by axe-core, in light and in dark, and no state may make the browser complain.
import { spawn } from 'node:child_process'
import fs from 'node:fs'
import http from 'node:http'
import os from 'node:os'
import path from 'node:path'
import readline from 'node:readline'
import axe from 'axe-core'
import { launch } from './browser.mjs'

const PATIENCE = 60_000
const [program, flag, picture] = process.argv.slice(2)
const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'page-'))
const fail = why => { throw new Error(why) }
const expect = (holds, why) => holds || fail(typeof why === 'function' ? why() : why)
const sleep = milliseconds => new Promise(done => setTimeout(done, milliseconds))

async function until(holds, what, within = PATIENCE) {
    const start = performance.now()
    for (;;) {
        const found = await holds()
        if (found) return found
        if (performance.now() - start > within) fail(`${what}: not within ${within} ms`)
        await sleep(20)
    }
}

// The house.

const sessions = path.join(folder, 'agents/main/sessions')
const line = message => JSON.stringify({ type: 'message', id: message.id, message: { ...message, id: undefined } }) + '\n'
const append = (name, ...messages) => fs.appendFileSync(path.join(sessions, `${name}.jsonl`), messages.map(line).join(''))
const numbered = (from, count) => Array.from({ length: count }, (_, at) => ({
    id: `n${from + at}`, role: (from + at) % 2 ? 'user' : 'assistant', timestamp: 1_790_000_000_000 + (from + at) * 1000,
    content: `message ${from + at}: ${'It says a little more than that. '.repeat((from + at) % 7)}`,
}))

fs.mkdirSync(sessions, { recursive: true })
fs.mkdirSync(path.join(folder, 'agents/ops/sessions'), { recursive: true })
const now = Date.now()
const row = (id, age, more = {}) => ({ sessionId: id, updatedAt: now - age, ...more })
fs.writeFileSync(path.join(sessions, 'sessions.json'), JSON.stringify({
    'agent:main:deploys': row('deploys', 1000, { label: 'Deploys' }),
    'agent:main:long': row('long', 60_000, { displayName: 'A long one' }),
    'agent:main:empty': row('empty', 120_000),
}))
fs.writeFileSync(path.join(folder, 'agents/ops/sessions/sessions.json'), JSON.stringify({ 'agent:ops:main': row('ops', 180_000) }))
fs.writeFileSync(path.join(folder, 'agents/ops/sessions/ops.jsonl'), line({ id: 'o1', role: 'user', content: 'of ops' }))
fs.writeFileSync(path.join(sessions, 'empty.jsonl'), '')
const at = seconds => now - 600_000 + seconds * 1000
append('deploys',
    { id: 'd1', role: 'user', timestamp: at(0), content: 'Which hosts run the new build?' },
    { id: 'd2', role: 'assistant', timestamp: at(4), content: [
        { type: 'thinking', thinking: 'The list is in the inventory.' },
        { type: 'text', text: 'I look them up.' },
        { type: 'toolCall', id: 'c1', name: 'exec', arguments: { command: 'fleet hosts --build 1841', timeout: 30 } },
    ] },
    { id: 'd3', role: 'toolResult', toolCallId: 'c1', toolName: 'exec', timestamp: at(6), content: [{ type: 'text', text: 'web-1\nweb-2\nweb-3\nweb-4' }] },
    { id: 'd4', role: 'assistant', timestamp: at(9), content: [{ type: 'text', text: 'Four of six. The others are next:\n\n```sh\nfor host in web-5 web-6; do\n    fleet deploy --build 1841 "$host" && fleet probe "$host"\ndone\n```\n\nThe error rate is `0.02 %`, as before.' }] },
    { id: 'd5', role: 'user', timestamp: at(40), content: [{ type: 'text', text: 'This is the graph of it.' }, { type: 'image', name: 'latency.png', mimeType: 'image/png', data: 'QUJD' }] },
    { id: 'd6', role: 'assistant', timestamp: at(44), content: '<img src=x onerror=alert(1)> is text, and so is <b>this</b>.' })
append('long', ...numbered(1, 10_000))

const tokens = {
    admin: { subject: 'olga', scopes: ['operator.admin'] },
    reader: { subject: 'rita', scopes: ['operator.read'] },
    writer: { subject: 'walt', scopes: ['operator.read', 'operator.write'] },
    revoked: { scopes: ['operator.read'] },
    narrow: { scopes: ['operator.write'] },
    blind: { scopes: ['operator.approvals'] },
}
const writeTokens = () => {
    const file = path.join(folder, 'tokens.json')
    const token = Object.entries(tokens).map(([id, more]) => ({ id, secret: `secret-of-${id}`, ...more }))
    fs.writeFileSync(`${file}.new`, JSON.stringify({ token }), { mode: 0o600 })
    fs.renameSync(`${file}.new`, file)
    return file
}

class Gateway {
    /** Starts one, and waits until it listens. */
    static async start(...flags) {
        const gateway = new Gateway()
        const env = { ...process.env, RUST_LOG: 'error', HOME: folder }
        gateway.process = spawn(program, [`--state-dir=${folder}`, `--data-dir=${folder}/data`, ...flags], { env, stdio: ['ignore', 'pipe', 'inherit'] })
        const lines = readline.createInterface({ input: gateway.process.stdout })
        const [first] = await new Promise(done => lines.once('line', (...line) => done(line)))
        gateway.url = first.split(' ').at(-1) + '/'
        gateway.port = new URL(gateway.url).port
        return gateway
    }

    async ask(method, target, token, body) {
        const headers = { Authorization: `Bearer secret-of-${token}` }
        return fetch(new URL(target, this.url), { method, headers, body })
    }

    async stop() {
        const ended = new Promise(done => this.process.once('exit', done))
        this.process.kill('SIGTERM')
        await ended
    }
}

// The browser.

const browser = await launch()
const complaints = []

/** A page of its own, with what it complains of. */
async function open(url, options = {}) {
    const context = await browser.newContext({ viewport: { width: 1200, height: 800 }, ...options })
    const page = await context.newPage()
    page.setDefaultTimeout(PATIENCE)
    page.on('pageerror', error => complaints.push(String(error)))
    page.on('console', message => {
        // A refusal is what the page is told, and says itself.
        const isRefusal = /Failed to load resource/.test(message.text())
        if (['error', 'warning'].includes(message.type()) && !isRefusal) complaints.push(message.text())
    })
    await page.goto(url)
    return page
}

async function signIn(page, token) {
    await page.fill('#token', `secret-of-${token}`)
    await page.press('#token', 'Enter')
}

const says = (page, selector, text) => page.waitForFunction(
    ([selector, text]) => document.querySelector(selector)?.checkVisibility() && document.querySelector(selector).textContent.includes(text),
    [selector, text], { polling: 20 },
).catch(async () => fail(`${selector} does not say ${JSON.stringify(text)} but ${JSON.stringify((await page.textContent(selector)).slice(-300))}`))
const shows = (page, text) => says(page, '#rows', text)
const choose = (page, key) => page.click(`#sessions button:has-text("${key}")`)

/** Tab leads to what comes first. */
const fromTheTop = page => page.evaluate(() => {
    document.body.tabIndex = -1
    document.body.focus()
    document.body.removeAttribute('tabindex')
})

let looks = 0
/** Nothing is wrong with what is shown, in either colour scheme. */
async function look(page, state) {
    for (const colorScheme of ['light', 'dark']) {
        await page.emulateMedia({ colorScheme })
        await page.evaluate(axe.source)
        const { violations, passes } = await page.evaluate(() => axe.run())
        expect(passes.length > 10, `axe-core found next to nothing: ${state}`)
        expect(!violations.length, () => `${state}, ${colorScheme}: ${violations.map(found => `${found.id} ${found.nodes.map(node => node.html)}`)}`)
        looks++
    }
    await page.emulateMedia({ colorScheme: null })
}

async function step(name, work) {
    const start = performance.now()
    const said = await work().catch(error => { throw new Error(`${name}: ${error.message}`, { cause: error }) })
    expect(!complaints.length, () => `${name}: the browser complains: ${complaints.join('; ')}`)
    console.log(`  ${name}${said ? `: ${said}` : ''} (${((performance.now() - start) / 1000).toFixed(1)} s)`)
}

const hide = (page, isHidden) => page.evaluate(isHidden => {
    Object.defineProperty(document, 'hidden', { configurable: true, get: () => isHidden })
    document.dispatchEvent(new Event('visibilitychange'))
}, isHidden)
const openStreams = async () => (await (await gateway.ask('GET', 'streams', 'admin')).json()).streams

let gateway = await Gateway.start('--port=0', `--tokens=${writeTokens()}`, '--token=shared')

async function story() {
    await step('a wrong token is refused in words', async () => {
        const page = await open(gateway.url)
        await page.waitForSelector('#entry')
        await look(page, 'signed out')
        await signIn(page, 'nobody')
        await says(page, '#entry-error', 'not good here')
        await look(page, 'a wrong token')
        expect(await page.evaluate(() => document.activeElement.id) === 'token', 'the focus is elsewhere')
        await signIn(page, 'blind')
        await says(page, '#entry-error', 'may not read sessions')
        await page.fill('#token', 'snow ☃')
        await page.press('#token', 'Enter')
        await says(page, '#entry-error', 'no such characters')
        expect(await page.evaluate(() => sessionStorage.length) === 0, 'a wrong token is kept')
        await page.context().close()
    })

    await step('one signs in, follows, and sees what is appended', async () => {
        const page = await open(gateway.url)
        await signIn(page, 'reader')
        await says(page, '#session-title', 'Deploys (agent:main:deploys)')
        await shows(page, 'Which hosts run the new build?')
        const listed = await page.locator('#sessions button span:first-child').allTextContents()
        expect(listed.join() === 'Deploys,A long one,agent:main:empty,agent:ops:main', `listed: ${listed}`)
        await says(page, '#state', 'Live')
        await says(page, '#scopes', 'May: read')
        expect(await page.isHidden('#operators'), 'a reader sees the streams')
        append('deploys', { id: 'd7', role: 'assistant', content: 'Six of six.' })
        await shows(page, 'Six of six.')
        await says(page, '#news', 'Assistant: Six of six.')

        const call = page.locator('details', { hasText: 'Tool call: exec' })
        expect(await call.getAttribute('open') === null, 'a tool call is unfolded')
        await call.locator('summary').click()
        await says(page, '#rows', 'fleet hosts --build 1841')
        await page.locator('details', { hasText: 'What exec gave' }).locator('summary').click()
        await shows(page, 'web-4')
        expect((await page.textContent('#rows pre code')).length > 0, 'no code')
        await shows(page, 'fleet deploy --build 1841 "$host"')
        await shows(page, 'Image')
        await shows(page, '<img src=x onerror=alert(1)> is text')
        expect(await page.locator('#rows img, #rows b, #rows script').count() === 0, 'text became markup')
        await look(page, 'a session')

        await choose(page, 'empty')
        await says(page, '#earlier', 'No messages yet.')
        await look(page, 'an empty session')
        await page.reload()
        await says(page, '#session-title', 'agent:main:empty')
        await page.click('#sign-out')
        await page.waitForSelector('#entry')
        expect(await page.evaluate(() => sessionStorage.length + document.querySelector('#rows').childElementCount) === 0, 'something is left')
        await page.context().close()
    })

    await step('the keyboard is enough', async () => {
        const page = await open(gateway.url)
        await page.waitForSelector('#entry')
        const focused = () => page.evaluate(() => document.activeElement.getAttribute('aria-label') ?? document.activeElement.textContent.trim())
        const tabTo = async text => {
            for (let presses = 0; presses < 40; presses++) {
                await page.keyboard.press('Tab')
                if ((await focused()).includes(text)) return
            }
            fail(`Tab does not lead to ${text}`)
        }
        await page.keyboard.type('secret-of-admin')
        await page.keyboard.press('Enter')
        await shows(page, 'Which hosts run the new build?')
        expect((await focused()).startsWith('Deploys'), `the focus is on ${await focused()}`)
        await fromTheTop(page)
        await page.keyboard.press('Tab')
        expect(await focused() === 'Skip to the messages', `first comes ${await focused()}`)
        await page.keyboard.press('Enter')
        expect(await focused() === 'Messages', `it skips to ${await focused()}`)
        await fromTheTop(page)
        await page.keyboard.press('Tab')
        await page.keyboard.press('Tab')
        await page.keyboard.press('Enter')
        expect(await focused() === 'Open streams', `it skips to ${await focused()}`)
        await fromTheTop(page)
        await tabTo('Thinking')
        await page.keyboard.press('Enter')
        await shows(page, 'The list is in the inventory.')
        await page.reload()
        await shows(page, 'Which hosts run the new build?')
        await fromTheTop(page)
        await tabTo('Deploys')
        await page.keyboard.press('ArrowDown')
        expect((await focused()).startsWith('A long one'), `an arrow leads to ${await focused()}`)
        await page.keyboard.press('Enter')
        await shows(page, 'message 10000')
        const order = []
        await fromTheTop(page)
        for (let presses = 0; presses < 12; presses++) {
            await page.keyboard.press('Tab')
            order.push(await page.evaluate(() => document.activeElement.closest('header, nav, main, aside')?.localName ?? 'skip'))
        }
        const regions = order.filter((region, at) => region !== order[at - 1]).slice(0, 5)
        expect(regions.join() === 'skip,header,nav,main,aside', `the order is ${regions}`)
        await page.context().close()
    })

    await step('an operator ends a stream, and it goes within a blink', async () => {
        const [page, other] = [await open(gateway.url), await open(gateway.url)]
        await signIn(other, 'reader')
        await shows(other, 'Six of six.')
        await signIn(page, 'admin')
        await says(page, '#streams', 'rita')
        await look(page, 'an operator')
        const button = page.locator('#streams button[aria-label="End the stream of rita: agent:main:deploys"]')
        await button.waitFor()
        const times = []
        for (let round = 0; round < 5; round++) {
            if (round) {
                await other.click('#again')
                await says(other, '#state', 'Live')
                await button.waitFor()
            }
            await other.evaluate(() => new Promise(done => {
                window.endedAt = new Promise(ended => {
                    new MutationObserver(() => document.querySelector('#why').textContent && ended(Date.now()))
                        .observe(document.querySelector('#why'), { childList: true, subtree: true, characterData: true })
                })
                done()
            }))
            await button.focus()
            const [pressed, gone] = await page.evaluate(() => new Promise(done => {
                const button = document.activeElement
                button.addEventListener('click', () => {
                    const pressed = Date.now()
                    new MutationObserver((_, observer) => {
                        if (button.isConnected) return
                        observer.disconnect()
                        requestAnimationFrame(() => done([pressed, Date.now()]))
                    }).observe(document.querySelector('#streams'), { childList: true })
                }, { once: true })
                setTimeout(() => button.click())
            }))
            const told = await other.evaluate(() => window.endedAt)
            times.push([gone - pressed, told - pressed])
            await says(other, '#why', 'an operator ended it')
            await says(page, '#ended', 'rita, agent:main:deploys: an operator ended it')
            const focus = await page.evaluate(() => document.activeElement.closest('aside')?.id)
            expect(focus === 'operators', 'the focus is lost with the row')
        }
        await look(other, 'a stream that was ended')
        const slowest = times.map(pair => Math.max(...pair)).sort((a, b) => a - b)
        const [blink] = slowest
        expect(slowest[2] < 200, `it takes ${JSON.stringify(times)} ms`)
        await Promise.all([page, other].map(page => page.context().close()))
        return `the row is gone and its client told after ${blink} to ${slowest.at(-1)} ms`
    })

    await step('a countdown leads to the end of access, and its reason', async () => {
        tokens.short = { subject: 'sven', scopes: ['operator.read'], expires_at: new Date(Date.now() + 6000).toISOString() }
        writeTokens()
        await until(async () => (await gateway.ask('GET', 'sessions', 'short')).ok, 'the new token')
        const [page, other] = [await open(gateway.url), await open(gateway.url)]
        await signIn(page, 'admin')
        await signIn(other, 'short')
        const row = page.locator('#streams tr', { hasText: 'sven' })
        await row.waitFor()
        const left = async () => Number((await row.locator('td').nth(2).textContent()).split(':').at(-1))
        const first = await left()
        await until(async () => await left() < first, 'the countdown')
        await says(other, '#why', 'the credential has expired')
        await says(page, '#ended', 'sven, agent:main:deploys: the credential has expired')
        await other.click('#anew')
        await other.waitForSelector('#entry')
        await Promise.all([page, other].map(page => page.context().close()))
    })

    await step('who is revoked is told so', async () => {
        const page = await open(gateway.url)
        await signIn(page, 'revoked')
        await shows(page, 'Six of six.')
        await gateway.ask('POST', 'revocations', 'admin', JSON.stringify({ credential: 'revoked' }))
        await says(page, '#why', 'Access ended at')
        await says(page, '#why', 'was revoked')
        await look(page, 'revoked')
        const before = await page.locator('#rows li').count()
        let attempts = 0
        page.on('request', () => attempts++)
        await hide(page, true)
        await hide(page, false)
        append('deploys', { id: 'd8', role: 'user', content: 'not for everybody' })
        await sleep(1500)
        expect(await page.locator('#rows li').count() === before, 'a message came after the end')
        expect(attempts === 0, 'it goes on trying with a token that is good no more')
        await says(page, '#state', 'Access ended')
        await page.reload()
        await says(page, '#entry-error', 'not good here')
        await page.context().close()
    })

    await step('a scope that is lost is told, and one that is needed ends it', async () => {
        const page = await open(gateway.url)
        await signIn(page, 'writer')
        await says(page, '#scopes', 'write')
        tokens.writer.scopes = ['operator.read']
        writeTokens()
        await says(page, '#news', 'Taken from you: operator.write.')
        append('deploys', { id: 'd9', role: 'user', content: 'still here' })
        await shows(page, 'still here')
        tokens.writer.scopes = ['operator.approvals']
        writeTokens()
        await says(page, '#why', 'a scope that it takes was taken away')
        await page.context().close()
        const admin = await open(gateway.url)
        await signIn(admin, 'admin')
        await says(admin, '#streams', 'olga')
        tokens.admin.scopes = ['operator.read']
        writeTokens()
        await says(admin, '#news', 'You see the open streams no more')
        expect(await admin.isHidden('#operators'), 'the streams are still shown')
        append('deploys', { id: 'd10', role: 'user', content: 'an operator no more' })
        await shows(admin, 'an operator no more')
        tokens.admin.scopes = ['operator.admin']
        writeTokens()
        await admin.context().close()
    })

    await step('who does not look has no connection, and misses nothing', async () => {
        const page = await open(gateway.url)
        await signIn(page, 'reader')
        await shows(page, 'an operator no more')
        await hide(page, true)
        await until(async () => !(await openStreams()).some(stream => stream.subject === 'rita'), 'the connection is let go')
        append('deploys', { id: 'd11', role: 'user', content: 'while nobody looked' })
        await sleep(300)
        const again = page.waitForRequest(request => request.url().includes('/history'))
        await hide(page, false)
        expect(await (await again).headerValue('last-event-id'), 'it does not say where it was')
        await shows(page, 'while nobody looked')
        const times = (await page.textContent('#rows')).split('an operator no more').length - 1
        expect(times === 1, `what was there is there ${times} times`)
        await page.evaluate(() => dispatchEvent(new PageTransitionEvent('pagehide', { persisted: true })))
        await until(async () => !(await openStreams()).some(stream => stream.subject === 'rita'), 'the connection is let go')
        await page.evaluate(() => dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true })))
        append('deploys', { id: 'd12', role: 'user', content: 'out of the cache' })
        await shows(page, 'out of the cache')
        await page.context().close()
    })

    await step('a gateway that is gone comes back', async () => {
        const page = await open(gateway.url)
        await signIn(page, 'reader')
        await shows(page, 'out of the cache')
        const { port } = gateway
        await gateway.stop()
        await says(page, '#state', 'Cut off')
        await look(page, 'cut off')
        append('deploys', { id: 'd13', role: 'user', content: 'while it was gone' })
        await sleep(2500)
        gateway = await Gateway.start(`--port=${port}`, `--tokens=${writeTokens()}`, '--token=shared')
        await shows(page, 'while it was gone')
        await says(page, '#state', 'Live')
        expect(await page.isHidden('#alert'), 'it complains')
        await page.context().close()
    })

    await step('ten thousand messages scroll', async () => {
        const page = await open(gateway.url)
        await signIn(page, 'reader')
        await choose(page, 'A long one')
        await shows(page, 'message 10000')
        await page.evaluate(() => {
            window.frames = []
            window.long = []
            new PerformanceObserver(list => window.long.push(...list.getEntries().map(entry => Math.round(entry.duration)))).observe({ type: 'longtask' })
            let last = performance.now()
            const measure = now => { window.frames.push(now - last); last = now; requestAnimationFrame(measure) }
            requestAnimationFrame(measure)
        })
        await page.hover('#messages')
        const first = () => page.evaluate(() => document.querySelector('#rows li .text')?.textContent ?? '')
        let most = 0
        const start = performance.now()
        for (;;) {
            await page.mouse.wheel(0, -2500)
            most = Math.max(most, await page.locator('#rows > li').count())
            if ((await first()).startsWith('message 1:') && await page.evaluate(() => document.querySelector('#messages').scrollTop === 0)) break
            expect(performance.now() - start < 240_000, async () => `it only came to ${await first()}`)
        }
        const up = performance.now() - start
        const measured = await page.evaluate(() => {
            const frames = window.frames.slice(1).sort((a, b) => a - b)
            return { count: frames.length, median: frames[frames.length >> 1], p99: frames[Math.floor(frames.length * 0.99)], worst: frames.at(-1), long: window.long }
        })
        await says(page, '#earlier', 'where the session begins')
        expect(most <= 650, `${most} rows`)
        await look(page, 'the start of a long session')
        const texts = await page.locator('#rows li .text').allTextContents()
        const numbers = texts.map(text => Number(/\d+/.exec(text)))
        expect(numbers.every((number, at) => number === at + 1), 'rows are missing, or out of order')
        await page.click('#newest')
        await shows(page, 'message 10000')

        // Ten thousand more, as fast as the gateway sends them.
        await page.evaluate(() => { window.long.length = 0 })
        for (let from = 10_001; from < 20_000; from += 500) {
            append('long', ...numbered(from, 500))
            await sleep(60)
        }
        await shows(page, 'message 20000')
        const burst = await page.evaluate(() => window.long)
        const round = number => number.toFixed(0)
        const worst = Math.max(0, ...measured.long)
        expect(measured.p99 < 100 && worst < 250, () => `frames: ${JSON.stringify({ ...measured, burst })}`)
        await page.context().close()
        return `${most} rows at most; ${measured.count} frames in ${round(up / 1000)} s, median ${round(measured.median)} ms, p99 ${round(measured.p99)} ms, `
            + `worst ${round(measured.worst)} ms; ${measured.long.length} long tasks, at most ${worst} ms; in a burst of 10,000 ${burst.length}, at most ${Math.max(0, ...burst)} ms`
    })

    await step('light and dark are two', async () => {
        const page = await open(gateway.url)
        const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor)
        await page.emulateMedia({ colorScheme: 'light' })
        const light = await ground()
        await page.emulateMedia({ colorScheme: 'dark' })
        expect(light !== await ground(), 'they are one')
        await page.setViewportSize({ width: 390, height: 800 })
        await signIn(page, 'admin')
        await says(page, '#streams', 'olga')
        await look(page, 'on a small screen')
        const isWide = await page.evaluate(() => document.documentElement.scrollWidth > innerWidth)
        expect(!isWide, 'a small screen scrolls sideways')
        await page.context().close()
    })

    await step('events are read however they are cut', cutEvents)

    await step('a message that makes no sense hides no other', strangeMessages)

    await step('a gateway that cannot answer has nobody sign in again', outOfOrder)

    await step('where nobody has to sign in nobody is asked to', async () => {
        await gateway.stop()
        gateway = await Gateway.start('--port=0', '--auth=none')
        const page = await open(gateway.url)
        await shows(page, 'while it was gone')
        await says(page, '#streams', 'this page')
        expect(await page.isHidden('#sign-out'), 'it offers to sign out')
        const other = page.locator('#streams tr', { hasText: 'agent:main:deploys' })
        await other.locator('button').click()
        await says(page, '#why', 'an operator ended it')
        await page.context().close()
    })
    console.log(`  axe-core looked ${looks} times, and nothing was wrong`)
}

/** A server that sends events in every awkward way there is, and once nothing at all. */
async function cutEvents() {
    const html = await (await fetch(gateway.url)).text()
    const text = count => `zwölf 🦀 ${count}`
    const event = (count, end) => [
        ': a comment', `id: ${count}`, 'event: message', 'data: {"message":{"role":"user",', `data:"content":"${text(count)}"}}`, 'ignored', '', '',
    ].join(end)
    const asked = []
    let isMute = false, shown = 0
    const server = http.createServer(async (request, response) => {
        const { pathname } = new URL(request.url, 'http://x')
        if (pathname === '/') return response.setHeader('Content-Type', 'text/html').end(html)
        if (pathname === '/sessions') return response.setHeader('Content-Type', 'application/json').end(JSON.stringify({ sessions: [{ key: 'k', agent: 'main', updatedAt: 1 }], hasMore: false, unreadable: [] }))
        if (pathname === '/streams') return response.writeHead(403).end()
        asked.push(request.headers['last-event-id'])
        response.writeHead(200, { 'Content-Type': 'text/event-stream' })
        response.flushHeaders()
        if (isMute) return
        const start = '\ufeffretry: 200\n\nevent: history\ndata: {"messages":[],"hasMore":false}\n\n'
        // In the middle of an event, behind its id: it has not come.
        const cut = asked.length === 2 ? 'id: 21\nevent: message\ndata: {"message":{"role":"user",\n' : ''
        const bytes = Buffer.from((asked.length === 1 ? start : '') + (asked.length === 1 ? ['\n', '\r\n', '\r'] : ['\r\n']).map((end, at) => event(asked.length * 10 + at, end)).join('') + cut)
        for (const byte of bytes) {
            response.write(Buffer.of(byte))
            await new Promise(done => setImmediate(done))
        }
        // In the middle of the response, and not of what was written: a browser drops what came and was not read yet.
        if (asked.length > 2) return
        const last = asked.length === 1 ? 12 : 20
        while (shown < last && !response.destroyed) await sleep(5)
        response.socket?.destroySoon()
    })
    await new Promise(done => server.listen(0, '127.0.0.1', done))
    const page = await browser.newPage()
    try {
        await page.clock.install()
        await page.goto(`http://127.0.0.1:${server.address().port}/`)
        for (const count of [10, 11, 12, 20, 30]) {
            await until(async () => {
                // No faster than the server writes: a line that is dead is left by this clock.
                await page.clock.runFor(20)
                return (await page.textContent('#rows')).includes(text(count))
            }, text(count))
            shown = count
        }
        expect(await page.locator('#rows li').count() === 5, 'an event was made twice, or lost')
        expect(asked.join() === ',12,20', `it came again from ${asked}`)
        // A line that is dead says nothing of it: only that no heartbeat comes.
        isMute = true
        await page.clock.runFor(40_000)
        expect(asked.length === 3, 'it does not wait for a heartbeat')
        await until(async () => {
            await page.clock.runFor(2000)
            return asked.length > 3
        }, 'it notices that the line is dead')
        expect(asked[3] === '30', `it came again from ${asked[3]}`)
    } finally {
        await page.close()
        server.closeAllConnections()
        server.close()
    }
}

/** A server whose messages are such as nobody writes but to do harm. */
async function strangeMessages() {
    const html = await (await fetch(gateway.url)).text()
    const noText = { toString: null, valueOf: null }
    const messages = [
        { role: 'assistant', content: [{ type: noText, text: 'a' }] }, { role: noText, content: 'b' }, null, 7, 'c',
        { role: 'tool', toolName: noText, content: [noText] }, { role: 'user', timestamp: noText, content: 'd' },
        { role: 'constructor', content: [{ type: 'toolCall', name: noText }, null, 8] },
        { role: 'user', content: 'the last of the history' },
    ]
    // Lines that may be a fence from each of their characters on.
    const long = { role: 'user', content: Array(10).fill(`${'~'.repeat(19_990)}\`x`) }
    const events = [['history', { messages, hasMore: false }], ...[...messages, long, { role: 'user', content: 'the last of all' }].map(message => ['message', { message }])]
    const server = http.createServer((request, response) => {
        const { pathname } = new URL(request.url, 'http://x')
        if (pathname === '/') return response.setHeader('Content-Type', 'text/html').end(html)
        if (pathname === '/sessions') return response.setHeader('Content-Type', 'application/json').end(JSON.stringify({ sessions: [{ key: 'k', agent: 'main', updatedAt: 1 }], hasMore: false, unreadable: [] }))
        if (pathname === '/streams') return response.writeHead(403).end()
        response.writeHead(200, { 'Content-Type': 'text/event-stream' })
        response.write(events.map(([name, data]) => `event: ${name}\ndata: ${JSON.stringify(data)}\n\n`).join(''))
    })
    await new Promise(done => server.listen(0, '127.0.0.1', done))
    const page = await open(`http://127.0.0.1:${server.address().port}/`)
    try {
        await shows(page, 'the last of all')
        await shows(page, 'cannot be shown')
        expect(await page.locator('#rows > li').count() === 2 * messages.length + 2, 'a message has no row')
        await page.evaluate(() => { window.long = []; new PerformanceObserver(list => window.long.push(...list.getEntries().map(entry => entry.duration))).observe({ type: 'longtask', buffered: true }) })
        await sleep(100)
        const worst = Math.max(0, ...await page.evaluate(() => window.long))
        expect(worst < 2500, `lines of tildes take ${worst.toFixed(0)} ms`)
    } finally {
        await page.context().close()
        server.closeAllConnections()
        server.close()
    }
}

/** A proxy whose gateway is away, and then a gateway that lets nobody in for now. */
async function outOfOrder() {
    const html = await (await fetch(gateway.url)).text()
    const answers = []
    const server = http.createServer((request, response) => {
        const { pathname } = new URL(request.url, 'http://x')
        if (pathname === '/') return response.setHeader('Content-Type', 'text/html').end(html)
        if (pathname === '/streams') return response.writeHead(403).end()
        const isGood = request.headers.authorization === 'Bearer secret-of-reader'
        const status = isGood ? answers.shift() ?? 200 : 401
        response.writeHead(status, { 'Content-Type': 'application/json' }).end(JSON.stringify({ sessions: [], hasMore: false, unreadable: [] }))
    })
    await new Promise(done => server.listen(0, '127.0.0.1', done))
    const page = await open(`http://127.0.0.1:${server.address().port}/`)
    try {
        await signIn(page, 'reader')
        await says(page, '#state', 'no session yet')
        for (const [status, words] of [[502, 'answered 502'], [429, 'Too many attempts']]) {
            answers.push(status)
            await page.reload()
            await says(page, '#entry-error', words)
            await page.reload()
            await says(page, '#state', 'no session yet')
        }
    } finally {
        await page.context().close()
        server.closeAllConnections()
        server.close()
    }
}

/** A session that is followed, and an operator who sees who else does. */
async function takePicture(file) {
    tokens.reader.expires_at = new Date(Date.now() + 754_000).toISOString()
    writeTokens()
    await until(async () => (await openStreams()).length === 0, 'the tokens')
    const others = [await open(gateway.url), await open(gateway.url)]
    await signIn(others[0], 'reader')
    await signIn(others[1], 'writer')
    await choose(others[1], 'A long one')
    await shows(others[1], 'message 10000')
    await shows(others[0], 'Which hosts run the new build?')
    const page = await open(gateway.url, { viewport: { width: 1120, height: 760 }, colorScheme: 'light' })
    await signIn(page, 'admin')
    await says(page, '#streams', 'rita')
    await says(page, '#streams', 'walt')
    await page.locator('#streams button[aria-label^="End the stream of walt"]').click()
    await says(page, '#ended', 'walt')
    await page.locator('details', { hasText: 'Tool call: exec' }).locator('summary').click()
    await page.evaluate(() => { document.querySelector('#messages').scrollTop = 0; document.activeElement.blur() })
    await page.mouse.move(0, 0)
    await sleep(1200)
    await page.screenshot({ path: file })
    console.log(`${file}: ${fs.statSync(file).size} bytes`)
}

try {
    if (flag === '--picture') await takePicture(picture)
    else await story()
} finally {
    await browser.close()
    await gateway.stop()
    fs.rmSync(folder, { recursive: true })
}
