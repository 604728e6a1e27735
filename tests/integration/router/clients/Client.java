import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.io.ByteArrayInputStream;

/** As Java does it by itself: each call offers to go on in HTTP/2, bodies also come in chunks. */
public class Client {
    public static void main(String[] words) throws Exception {
        String url = words[0], key = words[1], body = words[2];
        int calls = Integer.parseInt(words[3]), failed = 0;
        HttpClient client = HttpClient.newHttpClient();
        for (int call = 0; call < calls; call++) {
            HttpRequest request = HttpRequest.newBuilder(URI.create(url))
                .header("authorization", "Bearer " + key)
                .header("content-type", "application/json")
                .POST(call % 2 == 0
                    ? BodyPublishers.ofString(body)
                    : BodyPublishers.ofInputStream(() -> new ByteArrayInputStream(body.getBytes())))
                .build();
            try {
                HttpResponse<String> answer = client.send(request, BodyHandlers.ofString());
                if (answer.statusCode() != 200) {
                    System.err.println(answer.statusCode() + " " + answer.body());
                    failed++;
                }
            } catch (java.io.IOException error) {
                System.err.println(error);
                failed++;
            }
        }
        System.out.println(failed);
    }
}
