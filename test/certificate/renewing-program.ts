// One of several processes on one store: wants one certificate and says on standard output what it does. Started by
// processes.test.ts. Its CA answers when a line comes in.

import { LocalAuthority } from "../../src/certificate/authority.ts";
import { CertificateSet } from "../../src/certificate/certificate-set.ts";
import { Renewal } from "../../src/certificate/renewal.ts";
import { CertificateStore } from "../../src/certificate/store.ts";

const [directory = "", name = ""] = process.argv.slice(2);
const authority = await LocalAuthority.open({ directory: null });
const certificates = new CertificateSet();
const input = console[Symbol.asyncIterator]();

const renewal = new Renewal({
  store: new CertificateStore(directory), certificates,
  issuer: {
    async issue(names) {
      console.log("asking");
      await input.next();
      return authority.issue(names);
    },
  },
  events: { issued: () => {}, failed: (_, { message }) => console.log(`failed ${message}`), resumed: () => {}, problem: ({ reason }) => console.log(`problem ${reason}`) },
});
certificates.onChange(() => {
  console.log(`serving ${certificates.find(name)?.fingerprint}`);
  process.exit(0);
});
renewal.want([name]);
await renewal.start();
console.log("started");
setInterval(() => {}, 60_000); // Timers of Renewal keep no process.
