// Run the probe with the key of the page and with a wrong one.
const ours = "th-your-key";
const variables = Object.keys(process.env).filter((name) => process.env[name] === ours);

for (const [place, key] of [["right", ours], ["wrong", "th-wrong"]]) {
  for (const name of variables) process.env[name] = key;
  await import(`./${place}/hello.mjs`);
}
