// Takes mail from who has logged in, keeps it in files, and refuses what the others refuse.
const fs = require('node:fs');

exports.hook_mail = (next, connection, [sender]) => {
  // Who has not logged in hears at RCPT what Haraka says by itself.
  if (sender.address() === '@NOT_ACMES@') return next(DENY, 'not your address');
  next();
};

exports.hook_rcpt = (next, connection, [recipient]) => {
  if (!connection.relaying) return next();
  if (recipient.address() === '@GREYLISTED@') return next(DENYSOFT, 'Greylisted');
  if (recipient.address() !== '@RECIPIENT@') return next(DENY, 'no such mailbox');
  next(OK);
};

exports.hook_data_post = (next, connection) => {
  const subject = connection.transaction.header.get('Subject');
  subject.includes('@SPAM@') ? next(DENY, 'this is spam') : next();
};

const keep = (next, connection) => {
  const file = fs.createWriteStream('@FOLDER@/mail/tmp/' + connection.transaction.uuid);
  file.once('close', () => {
    fs.renameSync(file.path, file.path.replace('/mail/tmp/', '/mail/new/'));
    next(OK);
  });
  connection.transaction.message_stream.pipe(file, { line_endings: '\n' });
};

// Haraka asks the second for who has logged in.
exports.hook_queue = keep;
exports.hook_queue_outbound = keep;
