// Send.java SENDER RECIPIENT PORT...: the same message to each port.

import jakarta.mail.*;
import jakarta.mail.internet.*;
import java.nio.file.*;
import java.util.*;

public class Send {
    public static void main(String[] arguments) throws Exception {
        Session session = Session.getInstance(new Properties());
        MimeMessage message = new MimeMessage(session);
        message.setFrom(new InternetAddress(arguments[0], "Jörg", "utf-8"));
        message.setRecipients(Message.RecipientType.TO, arguments[1]);
        message.setSubject("Grüße", "utf-8");
        message.setSentDate(new Date());
        MimeBodyPart text = new MimeBodyPart();
        text.setText(Files.readString(Path.of("body")), "utf-8");
        MimeBodyPart file = new MimeBodyPart();
        file.attachFile("octets.bin");
        message.setContent(new MimeMultipart(text, file));
        message.saveChanges();
        for (String port : Arrays.asList(arguments).subList(2, arguments.length)) {
            Transport transport = session.getTransport("smtp");
            transport.connect("127.0.0.1", Integer.parseInt(port), null, null);
            transport.sendMessage(message, message.getAllRecipients());
            transport.close();
        }
    }
}
