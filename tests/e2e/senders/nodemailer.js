// nodemailer.js SENDER RECIPIENT PORT...: one message to each port, made anew each time.
const fs = require('node:fs');
const nodemailer = require('nodemailer');
const [sender, recipient, ...ports] = process.argv.slice(2);

(async () => {
  for (const port of ports) {
    const transport = nodemailer.createTransport({ host: '127.0.0.1', port, ignoreTLS: true });
    await transport.sendMail({
      from: `Jörg <${sender}>`,
      to: recipient,
      subject: 'Grüße',
      text: fs.readFileSync('body', 'utf-8'),
      attachments: [{ filename: 'octets.bin', content: fs.readFileSync('octets.bin') }],
      date: new Date('2026-10-01T10:11:12+02:00'),
      messageId: '<1.node@acme.example>',
      baseBoundary: 'next',
    });
  }
})();
