// Debian's chromium, without a screen and without errands of its own.
import { chromium } from 'playwright-core'

export const launch = () => chromium.launch({
    executablePath: '/usr/bin/chromium',
    args: [
        '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
        '--disable-background-networking', '--disable-component-update', '--disable-sync',
    ],
})

/** Opens an address, and prints what its scripts tell: each call of `tell` a line. */
export async function open(url, { allow404 = false } = {}) {
    const browser = await launch()
    const page = await (await browser.newContext()).newPage()
    await page.exposeFunction('tell', line => console.log(line))
    const response = await page.goto(url)
    if (!response.ok() && !(allow404 && response.status() === 404)) throw new Error(`no page: ${response.status()}`)
    return { browser, page }
}
