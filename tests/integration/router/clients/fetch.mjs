// As Node does it by itself: a pool of connections that are kept.
const [url, key, body, calls] = process.argv.slice(2);
let failed = 0;
for (let call = 0; call < Number(calls); call += 2) {
  const ask = async (streamed) => {
    try {
      const answer = await fetch(url, {
        method: "POST",
        headers: { authorization: `Bearer ${key}`, "content-type": "application/json" },
        body: streamed ? body.replace("{", '{"stream": true, ') : body,
      });
      const text = await answer.text();
      if (answer.status !== 200 || (streamed && !text.includes("[DONE]"))) {
        console.error(answer.status, text);
        failed++;
      }
    } catch (error) {
      console.error(error);
      failed++;
    }
  };
  await Promise.all([ask(true), ask(false)]);
}
console.log(failed);
